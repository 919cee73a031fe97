"""Reading and writing of audio files, and the one-line error for each bad file."""

import logging
import os
import re
import stat
import struct

import numpy as np
import pytest
import soundfile

from partae_fast.audio import files
from partae_fast.errors import UserError

from .tagged_files import TAGGED


def noise(length, channels=1, seed=0):
    """Return samples that are exact in 16 bits."""
    steps = np.random.default_rng(seed).integers(-32768, 32768, (length, channels))
    return (steps / 32768).astype(np.float32)


def wav(path, samples, rate=22050, **options):
    soundfile.write(path, samples, rate, **options)
    return path


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "PCM_16"), (".flac", "PCM_24"), (".caf", "FLOAT")])
def test_a_written_file_is_read_back(tmp_path, suffix, subtype, channels):
    path, samples = tmp_path / f"a{suffix}", noise(1003, channels)
    files.write(path, samples, 32000, subtype)
    back, rate = files.read(path)
    assert (back.dtype, rate) == (np.float32, 32000)
    np.testing.assert_array_equal(back, samples)
    header = files.info(path)
    assert (header.rate, header.channels, header.frames, header.subtype) == (32000, channels, 1003, subtype)
    assert header.seconds == 1003 / 32000
    assert os.listdir(tmp_path) == [path.name]


def test_one_channel_may_be_one_dimensional_and_the_subtype_has_a_default(tmp_path):
    files.write(tmp_path / "a.wav", noise(10)[:, 0], 8000)
    files.write(tmp_path / "b.flac", noise(10), 8000, subtype="FLOAT")  # FLAC has no floats
    for name in ("a.wav", "b.flac"):
        np.testing.assert_array_equal(files.read(tmp_path / name)[0], noise(10))
    assert files.info(tmp_path / "a.wav").subtype == "PCM_16"
    assert files.info(tmp_path / "b.flac").subtype == "PCM_24"


@pytest.mark.parametrize(
    ("name", "requested", "written"),
    [
        ("a.wav", "PCM_U8", "PCM_U8"),
        ("a.wav", "DOUBLE", "DOUBLE"),
        ("a.caf", "ALAC_24", "ALAC_24"),
        ("a.wav", "ALAC_24", "PCM_24"),
        ("a.flac", "PCM_32", "PCM_24"),
        ("a.wav", "MS_ADPCM", "PCM_16"),  # ADPCM is lossy, and pads its last block
        ("a.wav", "ULAW", "PCM_16"),
        ("a.wav", "VORBIS", "PCM_16"),
        ("a.aiff", "PCM_S8", "PCM_16"),
    ],
)
def test_the_subtype_is_the_nearest_lossless_one(tmp_path, name, requested, written):
    files.write(tmp_path / name, noise(1003), 8000, requested)
    header = files.info(tmp_path / name)
    assert (header.subtype, header.frames) == (written, 1003)


@pytest.mark.parametrize("size", [1, 100, 1000, 1003, 5000])
def test_blocks_together_are_the_whole_file(tmp_path, size):
    path = wav(tmp_path / "a.wav", noise(1003, 2))
    blocks = list(files.blocks(path, size))
    assert [len(block) for block in blocks[:-1]] == [size] * (len(blocks) - 1)
    np.testing.assert_array_equal(np.concatenate(blocks), noise(1003, 2))


@pytest.mark.parametrize(("frames", "length"), [(None, 1003), (0, 0), (1, 1), (1000, 1000), (1004, 1003)])
def test_the_first_frames_of_a_file_are_read(tmp_path, frames, length, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 400)
    path = wav(tmp_path / "a.wav", noise(1003))
    np.testing.assert_array_equal(files.read(path, frames)[0], noise(1003)[:length])


def truncate_header(path):
    path.write_bytes(wav(path, noise(100)).read_bytes()[:30])


def truncate_flac(path):
    wav(path, noise(50_000), format="FLAC")
    path.write_bytes(path.read_bytes()[:40_000])


def with_value(value):
    def make(path):
        samples = noise(2205, 2)
        samples[1103, 1] = value
        wav(path, samples, subtype="FLOAT")

    return make


# How each bad file is made, and a pattern of its message.
BAD = {
    "missing": (lambda path: None, "no such file"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
    "pipe": (os.mkfifo, "not a regular file"),
    "empty": (lambda path: path.write_bytes(b""), "is empty, 0 bytes"),
    "text": (lambda path: path.write_text("not audio at all\n" * 100), "not usable as audio"),
    "header cut short": (truncate_header, "not usable as audio"),
    # libsndfile's own message, in the middle, differs between its versions.
    "data cut short": (truncate_flac, r"damaged or cut short between 0\.73 and 0\.75 s: .+; copy it again"),
    "zero frames": (lambda path: wav(path, noise(0)), "has a header but no samples"),
    "nan": (with_value(np.nan), "the sample at 0.050 s is nan"),
    "inf": (with_value(-np.inf), "the sample at 0.050 s is -inf"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_raises_a_one_line_error_with_its_name(tmp_path, fault, monkeypatch):
    monkeypatch.setattr(files, "BLOCK", 500)
    make, message = BAD[fault]
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(UserError) as error:
        files.read(path)
    assert str(error.value).startswith(str(path))
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


def test_a_file_without_read_permission_is_refused(tmp_path, monkeypatch):
    path = wav(tmp_path / "a.wav", noise(10))
    path.chmod(0)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may read every file
    with pytest.raises(UserError, match="no permission"):
        files.read(path)


def test_raw_samples_and_names_that_are_too_long_are_refused(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(100))
    with pytest.raises(UserError, match="neither rate nor channels"):
        files.read(tmp_path / "a.raw")
    with pytest.raises(UserError, match="cannot be read"):
        files.read(tmp_path / ("n" * 300))


def test_the_error_of_a_sample_that_is_not_finite_has_its_time():
    samples = np.zeros(100, np.float32)
    files.require_finite(samples, 10, "x")
    samples[50] = np.inf
    with pytest.raises(UserError, match=r"^x: the sample at 105.000 s is inf"):
        files.require_finite(samples, 10, "x", first=1000)


def test_only_all_zero_samples_count_as_silence():
    files.require_sound(np.float32([0, 0, 1e-9]), "x")
    with pytest.raises(UserError, match="x: every sample is 0"):
        files.require_sound(np.zeros((10, 2), np.float32), "x")


def test_a_failed_write_changes_nothing(tmp_path):
    path = wav(tmp_path / "a.wav", noise(10))
    before = path.read_bytes()
    with pytest.raises(RuntimeError), files.writing(path, 22050, 1, 100, overwrite=True) as writer:
        writer.write(noise(50))
        raise RuntimeError
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


def test_an_existing_file_is_replaced_only_with_overwrite(tmp_path):
    path = wav(tmp_path / "a.wav", noise(10))
    with pytest.raises(UserError, match="exists already"):
        files.write(path, noise(20), 22050)
    np.testing.assert_array_equal(files.read(path)[0], noise(10))
    files.write(path, noise(20), 22050, overwrite=True)
    np.testing.assert_array_equal(files.read(path)[0], noise(20))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.txt", "cannot write .txt; use one of .wav, .flac"),
        ("a", "cannot write a file without suffix"),
        ("a.mp3", "cannot write .mp3"),
        ("none/a.wav", "does not exist"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        files.write(tmp_path / name, noise(10), 22050)
    assert os.listdir(tmp_path) == []


def test_more_channels_than_the_format_has_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a.flac: cannot be FLAC at 22050 Hz with 9 channels"):
        files.write(tmp_path / "a.flac", noise(10, 9), 22050)
    assert os.listdir(tmp_path) == []


def test_clipping_is_logged(tmp_path, caplog):
    samples = np.float32([[0.5], [1.5], [-2.0], [-1.0]])
    with caplog.at_level(logging.WARNING, "partae_fast"):
        files.write(tmp_path / "float.wav", samples, 8000, "FLOAT")
        assert not caplog.records
        files.write(tmp_path / "a.wav", samples, 8000, "PCM_16")
    assert "2 samples beyond full scale were clipped" in caplog.text
    np.testing.assert_array_equal(files.read(tmp_path / "float.wav")[0], samples)
    np.testing.assert_allclose(files.read(tmp_path / "a.wav")[0], np.clip(samples, -1, 1), atol=1e-4)


LOUD = np.float32([[0.5, 0.1], [1.5, 0.2], [-2.0, 0.3], [-1.0, -0.4]])


@pytest.mark.parametrize("name", ["a.wav", "a.aiff"])
def test_floats_are_written_to_avoid_clipping(tmp_path, caplog, name):
    with caplog.at_level(logging.INFO, "partae_fast"):
        files.write(tmp_path / name, LOUD, 8000, "PCM_16", clipping="float")
    assert caplog.messages == [f"{tmp_path / name}: written as float to avoid clipping"]
    np.testing.assert_array_equal(files.read(tmp_path / name)[0], LOUD)
    with pytest.raises(UserError, match=r"a.flac: FLAC holds no floats.* use .wav"):
        files.write(tmp_path / "a.flac", LOUD, 8000, "PCM_16", clipping="float")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize(("name", "subtype"), [("a.wav", "PCM_16"), ("a.flac", "PCM_24"), ("a.wav", "PCM_U8")])
@pytest.mark.parametrize("size", [1, 3])
def test_a_whole_file_is_scaled_to_avoid_clipping(tmp_path, caplog, monkeypatch, name, subtype, size):
    monkeypatch.setattr(files, "BLOCK", 16)  # two frames at a time
    path = tmp_path / name
    with files.writing(path, 8000, 2, 4, subtype, clipping="scale") as writer:
        for start in range(0, 4, size):
            writer.write(LOUD[start : start + size])
    assert "scaled by -6.0" in caplog.text and "clipped" not in caplog.text
    step = 2.0 ** (1 - 8 * files.SUBTYPE_BYTES[subtype])
    np.testing.assert_allclose(files.read(path)[0], LOUD * (1 - step) / 2, rtol=0, atol=step)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_samples_that_do_not_clip_are_not_scaled(tmp_path, caplog, subtype):
    samples = LOUD / 2 if subtype == "PCM_16" else LOUD
    files.write(tmp_path / "a.wav", samples, 8000, subtype, clipping="scale")
    assert not caplog.records
    np.testing.assert_allclose(files.read(tmp_path / "a.wav")[0], samples, rtol=0, atol=2**-15)
    files.write(tmp_path / "b.wav", LOUD[:0], 8000, "PCM_16", clipping="scale")
    with pytest.raises(UserError, match="clipping is 'never'; it must be one of clip, float, scale"):
        files.write(tmp_path / "c.wav", samples, 8000, clipping="never")


def test_a_failed_write_with_scaling_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.writing(tmp_path / "a.wav", 8000, 1, 50, clipping="scale") as writer:
        writer.write(noise(50))
        raise RuntimeError
    assert os.listdir(tmp_path) == []


TAGS = {
    "title": "dawn, São Paulo",
    "artist": "AudioMoth 24F319055FDF2902",
    "comment": "Recorded at 05:30:00 22/05/2019 (UTC) by AudioMoth at gain setting 2 while battery state was 4.1V",
    "date": "2019-05-22",
}


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.caf", "a.rf64", "a.aiff", "a.w64"])
def test_tags_are_written_if_the_format_has_them(tmp_path, caplog, name):
    supported = {"a.aiff": {"title", "artist", "comment"}, "a.w64": set()}.get(name, set(TAGS))
    with caplog.at_level(logging.INFO, "partae_fast"):
        files.write(tmp_path / name, noise(100), 8000, tags=TAGS)
    assert files.info(tmp_path / name).tags == {key: text for key, text in TAGS.items() if key in supported}
    np.testing.assert_array_equal(files.read(tmp_path / name)[0], noise(100))
    assert ("no field for the tags" in caplog.text) == (supported != set(TAGS))


def test_a_wav_past_4_gb_becomes_rf64(tmp_path):
    # The expected number of frames selects the format, however few are written.
    for frames, magic in ((100, b"RIFF"), (2**31, b"RF64")):
        path = tmp_path / f"{frames}.wav"
        with files.writing(path, 22050, 1, frames) as writer:
            writer.write(noise(100))
        assert path.read_bytes()[:4] == magic
        np.testing.assert_array_equal(files.read(path)[0], noise(100))


def test_a_wav_whose_data_ends_early_is_read_to_its_end(tmp_path):
    """A recorder that loses power leaves such files; libsndfile trusts the size of the file, not its header."""
    path = wav(tmp_path / "a.wav", noise(1000))
    content = path.read_bytes()
    offset = content.index(b"data") + 4
    path.write_bytes(content[:offset] + struct.pack("<I", 10_000) + content[offset + 4 :])
    np.testing.assert_array_equal(files.read(path)[0], noise(1000))


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "a.wav", noise(10), 8000)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.wav").stat().st_mode) == 0o640


def test_real_recordings_are_read(shared_data):
    samples, rate = files.read(shared_data("field/spinetail.flac"))
    assert (samples.shape, rate) == ((861_799, 1), 44100)


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_reading_starts_at_any_frame(tmp_path, suffix):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (50_000, 2)).astype(np.float32)
    soundfile.write(tmp_path / f"a{suffix}", samples, 22050)
    whole, _ = files.read(tmp_path / f"a{suffix}")
    part, rate = files.read(tmp_path / f"a{suffix}", frames=20_000, first=10_001)
    assert rate == 22050 and np.abs(part - whole[10_001:30_001]).max() < 1e-6
    assert np.abs(np.concatenate([*files.blocks(tmp_path / f"a{suffix}", first=49_000)]) - whole[49_000:]).max() < 1e-6
    with pytest.raises(UserError, match=r"has 50000 frames, so there is no frame 50000"):
        files.read(tmp_path / f"a{suffix}", first=50_000)


def test_samples_are_rounded_to_the_nearest_16_bit_integer(tmp_path):
    steps = np.array([-32768, -3, -1.6, -1.4, -0.4, 0, 0.4, 0.6, 1.4, 100.7, 32767, 32767.4, 40000, -40000])
    files.write(tmp_path / "a.wav", (steps / 32768).astype(np.float32), 8000, subtype="PCM_16")
    written = soundfile.read(tmp_path / "a.wav", dtype="int16")[0]
    assert written.tolist() == [-32768, -3, -2, -1, 0, 0, 0, 1, 1, 101, 32767, 32767, 32767, -32768]
    files.write(tmp_path / "b.wav", files.read(tmp_path / "a.wav")[0], 8000, subtype="PCM_16")
    assert (soundfile.read(tmp_path / "b.wav", dtype="int16")[0] == written).all()


@pytest.mark.parametrize("kind", TAGGED)
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".aiff", ".caf"])
def test_odd_tags_are_read_and_do_not_prevent_writing(tmp_path, caplog, kind, suffix):
    make, tags = TAGGED[kind]
    source, target = tmp_path / "source", tmp_path / f"target{suffix}"
    make(source, noise(5000)[:, 0])
    header = files.info(source)
    assert header.tags == tags
    samples, rate = files.read(source)
    files.write(target, samples, rate, tags=header.tags, chunks=header.chunks)
    copied = {name: text for name, text in tags.items() if name in files.TAGS[files.FORMATS[suffix]]}
    if "long" in kind and suffix != ".flac":
        copied = {}  # libsndfile reads no long tags from WAV files, and no AIFF and CAF files with them
        assert (suffix == ".wav") != ("the tag comment is too long" in caplog.text)
    assert files.info(target).tags == copied
    assert files.info(target).frames == len(samples)


def test_a_tag_that_cannot_be_written_is_left_out_with_a_warning(tmp_path, caplog, monkeypatch):
    def refuse(file, name, value):
        raise soundfile.LibsndfileError(31)

    monkeypatch.setattr(soundfile.SoundFile, "__setattr__", refuse, raising=True)
    monkeypatch.setattr(soundfile.SoundFile, "__init__", lambda *_, **__: None)
    files._write_tags(soundfile.SoundFile(), "a.flac", {"title": "x"}, ())
    assert "a.flac: the tag title cannot be written: " in caplog.text
