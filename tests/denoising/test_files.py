"""Files through the denoiser: the samples of the array run, nothing half-written, and where results go."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partae_fast.audio import Spectrogram, files
from partae_fast.denoising import denoise
from partae_fast.denoising.files import denoise_file, destinations
from partae_fast.errors import UserError

from .models import Fixed, Stub


def recording(path, length=20_011, channels=1, rate=44100, subtype="FLOAT", seed=0, level=0.3):
    samples = np.random.default_rng(seed).uniform(-level, level, (length, channels)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype=subtype)
    return path


@pytest.mark.parametrize("part", ["signal", "noise"])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_a_file_is_denoised_as_its_array_is(tmp_path, part, rate):
    source, model = recording(tmp_path / "a.wav", 150_011, 2, rate), Stub()
    denoise_file(model, source, tmp_path / "b.wav", part, reduction=30)
    audio, _ = files.read(source)
    found, found_rate = files.read(tmp_path / "b.wav")
    assert found_rate == rate
    np.testing.assert_allclose(found, denoise(audio, rate, model, part, 30), rtol=0, atol=1e-6)
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "b.wav"]


@pytest.mark.parametrize(
    ("source", "subtype", "target", "kept"),
    [
        ("a.wav", "PCM_24", "b.flac", "PCM_24"),
        ("a.flac", "PCM_16", "b.wav", "PCM_16"),
        ("a.wav", "FLOAT", "b.flac", "PCM_24"),
        ("a.ogg", "VORBIS", "b.wav", "PCM_16"),
    ],
)
def test_the_subtype_is_kept_where_the_format_has_it(tmp_path, source, subtype, target, kept):
    before = files.info(recording(tmp_path / source, subtype=subtype))
    denoise_file(Stub(), tmp_path / source, tmp_path / target)
    after = files.info(tmp_path / target)
    assert (after.subtype, after.frames, after.rate, after.channels) == (kept, before.frames, before.rate, 1)


def test_silence_comes_out_unchanged(tmp_path):
    source = recording(tmp_path / "a.wav", level=0.0, subtype="PCM_16")
    denoise_file(Stub(), source, tmp_path / "b.wav")
    assert not files.read(tmp_path / "b.wav")[0].any()


def test_nothing_is_written_where_the_end_of_the_input_is_bad(tmp_path):
    samples = np.zeros(200_000, np.float32)
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 22050, subtype="FLOAT")
    with pytest.raises(UserError, match=r"a.wav: the sample at 9.070 s is nan"):
        denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav")
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("figure", [False, True])
def test_what_exists_is_replaced_only_on_request(tmp_path, figure):
    source = recording(tmp_path / "a.wav")
    there = tmp_path / ("b.png" if figure else "b.wav")
    there.write_bytes(b"mine")
    with pytest.raises(UserError, match="exists already"):
        denoise_file(Stub(), source, tmp_path / "b.wav", figure=figure)
    assert there.read_bytes() == b"mine"
    assert sorted(os.listdir(tmp_path)) == ["a.wav", there.name]
    denoise_file(Stub(), source, tmp_path / "b.wav", figure=figure, overwrite=True)
    assert there.read_bytes() != b"mine"


def test_the_input_is_never_the_target(tmp_path):
    source = recording(tmp_path / "a.wav")
    before = source.read_bytes()
    (tmp_path / "link.wav").symlink_to(source)
    for target in (source, tmp_path / "link.wav"):
        with pytest.raises(UserError, match="is the input itself"):
            denoise_file(Stub(), source, target, overwrite=True)
        with pytest.raises(UserError, match="is an input, and would be lost"):
            destinations([source], target, overwrite=True)
    assert source.read_bytes() == before


def test_memory_does_not_grow_with_the_file(tmp_path):
    model = Fixed(Spectrogram(), 1, 1)

    def peak(length):
        source = recording(tmp_path / f"{length}.wav", length, rate=22050, subtype="PCM_16")
        denoise_file(model, source, tmp_path / "warm.wav", overwrite=True)
        tracemalloc.start()
        denoise_file(model, source, tmp_path / "out.wav", overwrite=True)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    assert peak(2_400_000) < 1.2 * peak(800_000)


def test_a_real_recording(tmp_path, shared_data):
    source = shared_data("birdsong/chiffchaff.flac")
    denoise_file(Stub(), source, tmp_path / "b.flac", reduction=20)
    before, after = files.info(source), files.info(tmp_path / "b.flac")
    assert (after.frames, after.rate, after.subtype) == (before.frames, before.rate, before.subtype)


# Where results go


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("folder").mkdir()
    for name in ("in/a.wav", "in/b.flac", "a.wav"):
        recording(name, 100, subtype="PCM_16")
    recording("in/c.ogg", 2000, subtype="VORBIS")
    return tmp_path


@pytest.mark.parametrize(
    ("inputs", "out", "targets"),
    [
        (["in/a.wav"], "x.wav", ["x.wav"]),
        (["in/a.wav"], "x.flac", ["x.flac"]),
        (["in/a.wav"], "folder", ["folder/a.wav"]),
        (["in/a.wav"], "new", ["new/a.wav"]),
        (["in/a.wav"], "new.d/", ["new.d/a.wav"]),
        (["in/a.wav", "in/b.flac"], "folder", ["folder/a.wav", "folder/b.flac"]),
        (["in/a.wav", "in/c.ogg"], "new/deep", ["new/deep/a.wav", "new/deep/c.wav"]),
        (["in/a.wav", "in/b.flac"], "2026.01", ["2026.01/a.wav", "2026.01/b.flac"]),
    ],
)
def test_destinations(here, inputs, out, targets):
    found = destinations(inputs, out)
    assert [(str(source), str(target)) for source, target in found] == list(zip(inputs, targets, strict=True))
    assert all(target.parent.is_dir() and not target.exists() for _, target in found)


@pytest.mark.parametrize(
    ("inputs", "out", "message"),
    [
        ([], "x.wav", "no input"),
        (["in/a.wav"], "x.txt", "cannot write .txt"),
        (["in/a.wav"], "none/x.wav", "does not exist"),
        (["in/a.wav"], "a.wav", "exists already"),
        (["in/a.wav"], "in", "exists already"),
        (["in/none.wav"], "x.wav", "no such file"),
        (["in"], "x.wav", "is a folder"),
        (["in/a.wav", "in/b.flac"], "x.wav", "names one file, and there are 2 inputs"),
        (["in/a.wav", "in/b.flac"], "a.wav", "is a file, and 2 inputs need a folder"),
        (["in/a.wav", "in/b.flac"], "a.wav/x", "cannot be created"),
        (["in/a.wav", "a.wav"], "folder", "would both become"),
    ],
)
def test_destinations_that_cannot_be_are_refused(here, inputs, out, message):
    before = sorted(here.rglob("*"))
    with pytest.raises(UserError, match=message):
        destinations(inputs, out)
    assert sorted(here.rglob("*")) == before


def test_figures_have_their_places_checked_too(here):
    Path("x.png").write_bytes(b"mine")
    assert destinations(["in/a.wav"], "x.wav")
    with pytest.raises(UserError, match=r"x.png: exists already"):
        destinations(["in/a.wav"], "x.wav", figure=True)
    assert destinations(["in/a.wav"], "x.wav", figure=True, overwrite=True)


def test_a_folder_that_cannot_be_written_is_refused(here, monkeypatch):
    writable = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode == os.R_OK and writable(path, mode))
    with pytest.raises(UserError, match="cannot be written"):
        destinations(["in/a.wav"], "folder")
