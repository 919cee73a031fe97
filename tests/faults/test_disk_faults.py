"""A disk that is full or cannot be written to: one line, exit code 2, and what was there is there."""

import errno
import os
import shutil
from pathlib import Path

import pytest

import partae_fast as pf
from partae_fast import atomic, cli
from partae_fast.errors import UserError
from tests.cli.conftest import FAST

TRAIN = ("train", "song.wav", "--noise", "noise.wav", *FAST)
DENOISE = ("denoise", "m.safetensors", "song.wav")
WRITES = {
    "model": (*TRAIN, "--out", "out/new.safetensors"),
    "wav": (*DENOISE, "--out", "out/new.wav"),
    "flac": (*DENOISE, "--out", "out/new.flac"),
    "figure": (*DENOISE, "--out", "out/new.wav", "--figure", "--part", "noise"),
}
SIZES = {"model": 100_000, "wav": 50_000, "flac": 50_000, "figure": 270_000}  # bytes; the figure's wav has 264,662


def contents():
    return {path: path.read_bytes() for path in sorted(Path().rglob("*")) if path.is_file()}


def assert_refused(found, verb, message):
    code, out, err = found
    assert code == 2 and out == "" and err.count("\n") == 1, err
    assert err.startswith(f"partae {verb}: ") and message in err


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over an old one"])
@pytest.mark.parametrize("what", WRITES)
def test_disk_full(partae, here, full_disk, what, overwrite):
    Path("out").mkdir()
    if overwrite:
        for name in ("new.safetensors", "new.wav", "new.flac", "new.png"):
            Path("out", name).write_bytes(b"old")
    before = contents()
    with full_disk(SIZES[what]):
        found = partae(*WRITES[what], "--quiet", *(["--overwrite"] if overwrite else []))
    assert_refused(found, WRITES[what][0], "cannot be written: ")
    after = contents()
    if what == "model":  # what was learnt is kept
        for path in [path for path in after if path not in before]:
            assert path.name.startswith("new.safetensors."), path
            del after[path]
        assert partae(*WRITES[what], "--resume", *(["--overwrite"] if overwrite else []))[0] == 0
    if what == "figure":  # the recording was whole by then
        assert Path("out/new.wav").stat().st_size > 200_000
        before.pop(Path("out/new.wav"), None), after.pop(Path("out/new.wav"))
    assert after == before


@pytest.mark.parametrize("what", WRITES)
def test_folder_that_cannot_be_written(partae, here, locked, what):
    Path("out").mkdir()
    before = contents()
    with locked(0o555, here / "out"):
        found = partae(*WRITES[what], "--quiet")
    assert_refused(found, WRITES[what][0], "cannot be written; choose another")
    assert contents() == before


def test_folders_that_cannot_be_entered(partae, here, locked):
    for name in ("out", "in"):
        Path(name, "inner").mkdir(parents=True)
        shutil.copy("song.wav", f"{name}/inner")
    Path("open").mkdir()
    os.chmod("open", 0o777)
    with locked(0o600, here / "out", here / "in"):
        for verb, *arguments in (
            ("denoise", "m.safetensors", "song.wav", "--out", "out/inner/new.wav"),
            ("denoise", "m.safetensors", "in/inner/song.wav", "--out", "open/new.wav"),
            ("denoise", "in/m.safetensors", "song.wav", "--out", "open/new.wav"),
            ("train", "song.wav", "--noise", "in/inner/song.wav", "--out", "out/new.safetensors", *FAST),
            ("info", "in/inner/song.wav"),
        ):
            code, out, err = partae(verb, *arguments, "--quiet")
            assert code == 2 and out == "" and err.count("\n") == 1 and ("in/" in err or "out" in err), err


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("out", ["/dev/full", "/dev/null"])
def test_device(partae, here, what, out):
    before = contents()
    arguments = [out if str(a).startswith("out/") else a for a in WRITES[what]]
    code, _, err = partae(*arguments, "--quiet", "--overwrite")
    assert code == 2 and err.count("\n") == 1 and out in err
    assert contents() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_every_call_that_may_fail(here, monkeypatch, call, number):
    """A file system mounted read-only, a quota, a disk that fails: of whichever call, the old model stays."""
    before, model = contents(), pf.load("m.safetensors")

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, fail)
        with pytest.raises(UserError, match=rf"m.safetensors: cannot be written: {os.strerror(number)}"):
            pf.save(model, "m.safetensors")
    assert contents() == before


def test_stdout_that_is_full(here, capsys, monkeypatch):
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert cli.main(["info", "m.safetensors"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("partae info: standard output: No space left on device") and line.count("\n") == 1
