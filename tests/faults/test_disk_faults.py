"""Full and read-only disks: a one-line error, exit code 2, and unchanged files."""

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


def assert_refused(result, verb, message):
    code, out, err = result
    assert code == 2 and out == "" and err.count("\n") == 1, err
    assert err.startswith(f"partae {verb}: ") and message in err


@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
@pytest.mark.parametrize("output", WRITES)
def test_a_full_disk_leaves_all_files_unchanged(partae, here, full_disk, output, overwrite):
    Path("out").mkdir()
    if overwrite:
        for name in ("new.safetensors", "new.wav", "new.flac", "new.png"):
            Path("out", name).write_bytes(b"old")
    before = contents()
    with full_disk(SIZES[output]):
        result = partae(*WRITES[output], "--quiet", *(["--overwrite"] if overwrite else []))
    assert_refused(result, WRITES[output][0], "cannot be written: ")
    after = contents()
    if output == "model":  # the checkpoint remains
        for path in [path for path in after if path not in before]:
            assert path.name.startswith("new.safetensors."), path
            del after[path]
        assert partae(*WRITES[output], "--resume", *(["--overwrite"] if overwrite else []))[0] == 0
    if output == "figure":  # the recording is complete before the figure is written
        assert Path("out/new.wav").stat().st_size > 200_000
        before.pop(Path("out/new.wav"), None)
        after.pop(Path("out/new.wav"))
    assert after == before


@pytest.mark.parametrize("output", WRITES)
def test_a_folder_without_write_permission_is_refused(partae, here, locked, output):
    Path("out").mkdir()
    before = contents()
    with locked(0o555, here / "out"):
        result = partae(*WRITES[output], "--quiet")
    assert_refused(result, WRITES[output][0], "cannot be written; choose another")
    assert contents() == before


def test_folders_without_search_permission_are_refused(partae, here, locked):
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


@pytest.mark.parametrize("output", WRITES)
@pytest.mark.parametrize("out", ["/dev/full", "/dev/null"])
def test_a_device_as_output_is_refused(partae, here, output, out):
    before = contents()
    arguments = [out if str(a).startswith("out/") else a for a in WRITES[output]]
    code, _, err = partae(*arguments, "--quiet", "--overwrite")
    assert code == 2 and err.count("\n") == 1 and out in err
    assert contents() == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_failed_system_call_keeps_the_old_model(here, monkeypatch, call, number):
    """Covers read-only file systems, quotas and failing disks."""
    before, model = contents(), pf.load("m.safetensors")

    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, call, fail)
        with pytest.raises(UserError, match=rf"m.safetensors: cannot be written: {os.strerror(number)}"):
            pf.save(model, "m.safetensors")
    assert contents() == before


def test_a_full_standard_output_is_reported(here, capsys, monkeypatch):
    with open("/dev/full", "w") as full, monkeypatch.context() as patch:
        patch.setattr("sys.stdout", full)
        assert cli.main(["info", "m.safetensors"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("partae info: standard output: No space left on device") and line.count("\n") == 1
