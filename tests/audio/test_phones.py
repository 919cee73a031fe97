"""Formats of phones: decoded with PyAV, here a module of the same interface, and refused by name without it."""

import logging

import numpy as np
import pytest
import soundfile

from partae_fast.audio import files, phones
from partae_fast.audio.folders import recordings_in
from partae_fast.errors import UserError

from . import fake_av
from .odd_files import ODD


@pytest.fixture
def av(monkeypatch):
    fake_av.install(monkeypatch)
    return fake_av


@pytest.fixture
def without_av(monkeypatch):
    monkeypatch.setattr(phones, "available", lambda: False)


def noise(length, channels=1):
    return np.round(np.random.default_rng(0).uniform(-128, 127, (length, channels))).astype(np.float32) / 128


@pytest.mark.parametrize("suffix", sorted(phones.SUFFIXES))
def test_without_pyav_the_message_names_the_extra(tmp_path, without_av, suffix):
    path = tmp_path / f"memo{suffix}"
    path.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(1000))
    with pytest.raises(UserError) as error:
        files.read(path)
    remedy = "pip install 'partae-fast[phones]', or convert it to WAV or FLAC"
    assert str(error.value) == f"{path}: {suffix} files need PyAV; {remedy}"


def test_without_pyav_a_wav_file_of_a_wrong_name_is_read(tmp_path, without_av):
    soundfile.write(tmp_path / "memo.m4a", noise(100), 8000, format="WAV")
    np.testing.assert_array_equal(files.read(tmp_path / "memo.m4a")[0], noise(100))


def test_a_wav_file_of_a_wrong_name_is_read_without_ffmpeg(tmp_path, av, monkeypatch):
    """For the corpus's list of 2 GiB it took 880 MB."""
    monkeypatch.setattr(fake_av, "open", None)
    (tmp_path / "memo.m4a").write_bytes(ODD["LIST claims 2 GiB"].content)
    assert len(files.read(tmp_path / "memo.m4a")[0]) == 5000
    soundfile.write(tmp_path / "memo.wma", noise(100), 8000, format="FLAC")
    np.testing.assert_array_equal(files.read(tmp_path / "memo.wma")[0], noise(100))


def test_pyav_is_found_if_it_is_installed(av):
    assert phones.available()


@pytest.mark.parametrize("format", ["flt", "fltp", "dbl", "dblp", "s16", "s16p", "s32", "s32p", "u8", "u8p"])
@pytest.mark.parametrize("channels", [1, 2])
def test_all_sample_formats_are_read(tmp_path, av, format, channels):
    av.write(tmp_path / "memo.m4a", noise(5000, channels), 48000, format=format)
    samples, rate = files.read(tmp_path / "memo.m4a")
    assert (rate, samples.dtype) == (48000, np.float32)
    np.testing.assert_array_equal(samples, noise(5000, channels))
    header = files.info(tmp_path / "memo.m4a")
    assert (header.rate, header.channels, header.frames) == (48000, channels, 5000)


@pytest.mark.parametrize(("size", "first"), [(1, 0), (1000, 0), (1024, 3000), (10_000, 4999)])
def test_memos_are_streamed_from_any_frame(tmp_path, av, size, first):
    av.write(tmp_path / "memo.M4A", noise(5000, 2))
    blocks = list(files.blocks(tmp_path / "memo.M4A", size, first))
    assert max(map(len, blocks)) <= size
    np.testing.assert_array_equal(np.concatenate(blocks), noise(5000, 2)[first:])


def test_tags_are_kept(tmp_path, av):
    metadata = {"title": "Dawn", "comment": "", "creation_time": "2026-05-22T05:30:00Z", "encoder": "x"}
    av.write(tmp_path / "memo.m4a", noise(5000), metadata=metadata)
    assert files.info(tmp_path / "memo.m4a").tags == {"title": "Dawn", "date": "2026-05-22T05:30:00Z"}


def test_a_damaged_memo_is_decoded_up_to_the_damage(tmp_path, av, caplog):
    av.write(tmp_path / "memo.m4a", noise(44100), damaged_at=20)
    np.testing.assert_array_equal(files.read(tmp_path / "memo.m4a")[0], noise(44100)[: 20 * 1024])
    (message,) = caplog.messages
    assert "damaged or cut short: Invalid data found when processing input; the 0.46 s that could be" in message


@pytest.mark.parametrize(("seconds", "warned"), [(1.0, False), (1.05, False), (2.0, True), (0.5, False)])
def test_a_memo_that_is_shorter_than_its_header_says_is_read_with_a_warning(tmp_path, av, caplog, seconds, warned):
    av.write(tmp_path / "memo.m4a", noise(44100), seconds=seconds)
    assert len(files.read(tmp_path / "memo.m4a")[0]) == 44100
    assert ("damaged or cut short: its header says 2.00 s; the 1.00 s" in caplog.text) == warned
    assert bool(caplog.messages) == warned


@pytest.mark.parametrize("seconds", [0.2, 5.0, None])
def test_the_length_of_a_file_without_an_index_is_no_claim(tmp_path, av, caplog, seconds):
    av.write(tmp_path / "memo.aac", noise(44100), seconds=seconds, without_index=True, container="aac")
    assert len(files.read(tmp_path / "memo.aac")[0]) == 44100
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"streams": 0}, "has no audio; leave it out"),
        ({"damaged_at": 0}, "nothing can be decoded"),
        ({"changes_at": 3}, "changes from 44100 Hz with 1 channels to 88200 Hz with 1; convert it"),
        ({"seconds": 1e9}, "its header claims .* bytes cannot hold them"),
    ],
)
def test_bad_memos_are_refused(tmp_path, av, settings, message):
    av.write(tmp_path / "memo.m4a", noise(5000), **settings)
    with pytest.raises(UserError, match=message):
        files.read(tmp_path / "memo.m4a")


def test_what_ffmpeg_does_not_know_is_refused(tmp_path, av):
    (tmp_path / "memo.m4a").write_bytes(bytes(1000))
    with pytest.raises(
        UserError, match=r"not usable as audio: Invalid data found when processing input; copy it again"
    ):
        files.read(tmp_path / "memo.m4a")


def test_samples_are_checked_as_in_other_formats(tmp_path, av, monkeypatch):
    monkeypatch.setattr(fake_av.Frame, "to_ndarray", lambda frame: np.full((1, 1024), np.nan, np.float32))
    av.write(tmp_path / "memo.m4a", noise(5000))
    with pytest.raises(UserError, match=r"the sample at 0\.000 s is nan"):
        files.read(tmp_path / "memo.m4a")


def test_memos_in_a_folder_are_recordings_or_named(tmp_path, monkeypatch, caplog):
    soundfile.write(tmp_path / "a.wav", noise(100), 8000)
    fake_av.write(tmp_path / "memo.m4a", noise(5000))
    monkeypatch.setattr(phones, "available", lambda: False)
    with caplog.at_level(logging.WARNING, "partae_fast"):
        assert [path.name for path in recordings_in(tmp_path)] == ["a.wav"]
    assert "left out: " in caplog.text and "memo.m4a: .m4a files need PyAV; pip install" in caplog.text
    monkeypatch.undo()
    fake_av.install(monkeypatch)
    assert [path.name for path in recordings_in(tmp_path)] == ["a.wav", "memo.m4a"]
