"""Damaged audio files and unusual samples: each gives a one-line error or the right samples.

In every case the input stays unchanged, and an error leaves no part of an output behind.
"""

import contextlib
import errno
import io
import logging
import os
import signal
import struct
import sys
import tracemalloc

import numpy as np
import pytest
import soundfile

import partae_fast as pf
from partae_fast import cli
from partae_fast.audio import Spectrogram, files, headers
from partae_fast.audio.headers import unclosed_start
from partae_fast.denoising import Mask
from partae_fast.denoising.files import denoise_file
from partae_fast.errors import UserError
from tests.calls import prepare

from ..denoising.models import Fixed, Stub

RATE = 22050
LENGTH = 30_000
STEPS = np.random.default_rng(0).integers(-9000, 9000, (LENGTH, 1), np.int16)
SAMPLES = (STEPS / 32768).astype(np.float32)


@contextlib.contextmanager
def within(seconds):
    """Fail a test that hangs, even inside a system call."""

    def fail(*_):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Makers of files: each returns a function that writes a file to a path.


def wav(tag=1, channels=1, rate=RATE, bits=16, body=None, data=None, riff=None, behind=b""):
    """Make a WAV file; `data` and `riff` are the lengths of the samples and of the file in its header."""
    body = STEPS.tobytes() if body is None else body

    def make(path):
        width = channels * bits // 8
        format = struct.pack("<HHIIHH", tag, channels, rate, rate * width % 2**32, width % 2**16, bits)
        length = len(body) if data is None else data
        chunks = b"WAVEfmt " + struct.pack("<I", len(format)) + format
        chunks += b"data" + struct.pack("<I", length) + body + behind
        path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) if riff is None else riff) + chunks)

    return make


def encoded(format, samples=SAMPLES, rate=RATE, **options):
    def make(path):
        soundfile.write(path, samples, rate, format=format, **options)

    return make


def cut(make, share):
    """Make the file and keep the given share of its bytes."""

    def make_and_cut(path):
        make(path)
        path.write_bytes(path.read_bytes()[: round(path.stat().st_size * share)])

    return make_and_cut


def overwritten(make, position, new):
    """Make the file and write `new` into it: after the bytes `position`, or at that share of the file."""

    def make_and_overwrite(path):
        make(path)
        content = bytearray(path.read_bytes())
        if isinstance(position, bytes):
            offset = content.index(position) + len(position)
        else:
            offset = round(len(content) * position)
        content[offset : offset + len(new)] = new
        path.write_bytes(content)

    return make_and_overwrite


def flac_of_length(frames):
    """Make a FLAC file with `frames` in its header, the last 36 bits of bytes 18 to 25."""

    def make(path):
        encoded("FLAC")(path)
        content = path.read_bytes()
        claim = (int.from_bytes(content[18:26], "big") >> 36 << 36) | frames
        path.write_bytes(content[:18] + claim.to_bytes(8, "big") + content[26:])

    return make


def with_sample(value, subtype="FLOAT"):
    """Make a WAV file with `value` at 0.500 s of the second channel."""
    samples = np.zeros((LENGTH, 2))
    samples[RATE // 2, 1] = value
    return encoded("WAV", samples, subtype=subtype)


def doubled(path):
    """Write an MP3 file that continues after the end in its header."""
    encoded("MP3")(path)
    path.write_bytes(path.read_bytes() * 2)


# Files that raise an error: how each is made, its suffix, and a part of the message.
REFUSED = {
    "missing": (lambda path: None, ".wav", "no such file"),
    "folder": (lambda path: path.mkdir(), ".wav", "is a folder"),
    "pipe": (os.mkfifo, ".wav", "is not a regular file"),
    "empty": (lambda path: path.write_bytes(b""), ".wav", "is empty, 0 bytes"),
    "text": (lambda path: path.write_text("not audio\n" * 500), ".wav", "not usable as audio"),
    "random bytes": (lambda path: path.write_bytes(np.random.default_rng(1).bytes(5000)), ".flac", "not usable"),
    "raw samples": (lambda path: path.write_bytes(STEPS.tobytes()), ".raw", "has neither rate nor channels in it"),
    "cut header": (cut(wav(body=b""), 0.6), ".wav", "not usable as audio"),
    "zero frames": (wav(body=b""), ".wav", "has a header but no samples"),
    "zero frames and tags": (
        wav(body=b"", behind=b"LIST" + struct.pack("<I", 16) + b"INFOICMT" + struct.pack("<I", 4) + b"note"),
        ".wav",
        "has a header but no samples",
    ),
    "no data chunk": (overwritten(wav(), b"\x10\x00", b"oops"), ".wav", "not usable as audio: "),
    "unknown format tag": (wav(tag=0x1234), ".wav", "not usable as audio"),
    "ADPCM tag on other samples": (wav(tag=2), ".wav", "not usable as audio: Error in ADPCM WAV file"),
    "0 channels": (wav(channels=0), ".wav", "Channel count is zero"),
    "1025 channels": (wav(channels=1025), ".wav", "Too many channels"),
    "rate 0": (wav(rate=0), ".wav", "has no sample rate, or one that is too high"),
    "rate 2^31": (wav(rate=2**31), ".wav", "has no sample rate, or one that is too high"),
    "rate 2^31-1": (wav(rate=2**31 - 1), ".wav", "its header says 2147483647 Hz"),
    "WAV with a wrong length": (wav(data=100), ".wav", "has 59900 more bytes after the 0.00 s"),
    "FLAC with a flipped byte": (
        overwritten(encoded("FLAC"), 0.5, b"\x55"),
        ".flac",
        "damaged or cut short between 0.00 and 1.36 s",
    ),
    "FLAC cut": (cut(encoded("FLAC"), 0.5), ".flac", "damaged or cut short between 0.00 and 1.36 s"),
    "FLAC of 2^36 frames": (flac_of_length(2**36 - 1), ".flac", "claims 68719476735 samples per channel, 866 h"),
    "FLAC without length": (flac_of_length(0), ".flac", "its header has no length"),
    "FLAC with a wrong length": (flac_of_length(100), ".flac", "after the 0.00 s that its header says"),
    "CAF cut": (cut(encoded("CAF"), 0.5), ".caf", "not usable as audio"),
    "MP3 of 2^32 blocks": (
        overwritten(encoded("MP3"), b"Xing\x00\x00\x00\x0f", b"\xff" * 4),
        ".mp3",
        "cannot hold them",
    ),
    "MP3 longer than its header": (doubled, ".mp3", "more bytes after the"),
    "MP3 without a block": (cut(encoded("MP3"), 0.01), ".mp3", "not usable as audio"),
    "Ogg with flipped bytes": (overwritten(encoded("OGG"), 0.5, b"\x55" * 9), ".ogg", "damaged inside, so the times"),
    "Ogg without a page": (cut(encoded("OGG"), 0.3), ".ogg", ""),
    "NaN": (with_sample(np.nan), ".wav", "the sample at 0.500 s is nan"),
    "Inf": (with_sample(-np.inf), ".wav", "the sample at 0.500 s is -inf"),
    "1e38": (with_sample(1e38), ".wav", "the sample at 0.500 s is 1e+38"),
    "beyond float32": (with_sample(-1e300, "DOUBLE"), ".wav", "the sample at 0.500 s is -1e+300"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_bad_file_raises_a_one_line_error_with_its_name(tmp_path, fault):
    make, suffix, message = REFUSED[fault]
    path = tmp_path / f"bad{suffix}"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    for call in (lambda: files.read(path), lambda: denoise_file(Stub(), path, tmp_path / "new.wav")):
        with within(60), pytest.raises(UserError) as error:
            call()
        line = str(error.value)
        assert line.startswith(f"{path}: ") and message in line and "\n" not in line
    assert (path.read_bytes() if path.is_file() else None) == before
    assert set(os.listdir(tmp_path)) <= {path.name}


TOO_LONG = "its header says more than it holds"
UNCLOSED = "its header has no length"


def with_1024_channels(path):
    soundfile.write(path, np.tile(SAMPLES[:40], (1, 1024)), RATE, format="WAV", subtype="PCM_16")


# Files that can be read, damaged or only unusual: how each is made, its suffix, which of SAMPLES it has (None for a
# lossy format), and a part of the warning or None.
READABLE = {
    "WAV cut": (cut(wav(), 0.5), ".wav", SAMPLES[: (30_022 - 44) // 2], TOO_LONG),
    "WAV cut in a sample": (cut(wav(), 0.50001), ".wav", SAMPLES[: (30_023 - 44) // 2], TOO_LONG),
    "odd byte count": (wav(body=STEPS.tobytes()[:1001]), ".wav", SAMPLES[:500], None),
    "WAV that claims 4 GiB": (wav(data=2**32 - 1, riff=2**32 - 1), ".wav", SAMPLES, TOO_LONG),
    "WAV without length of samples": (wav(data=0, riff=36), ".wav", SAMPLES, UNCLOSED),
    "WAV without any length": (wav(data=0, riff=0), ".wav", SAMPLES, UNCLOSED),
    "RF64 cut": (cut(encoded("RF64"), 0.5), ".wav", SAMPLES[: (30_052 - 104) // 2], TOO_LONG),
    "RF64 without length": (
        overwritten(encoded("RF64"), b"ds64\x1c\x00\x00\x00", bytes(24)),
        ".wav",
        SAMPLES,
        UNCLOSED,
    ),
    "W64 cut": (cut(encoded("W64"), 0.5), ".w64", SAMPLES[: (30_052 - 104) // 2], TOO_LONG),
    "AIFF cut": (cut(encoded("AIFF"), 0.5), ".aiff", SAMPLES[: (30_027 - 54) // 2], TOO_LONG),
    "chunk after the samples": (
        wav(behind=b"guan" + struct.pack("<I", 30_000) + b"x" * 30_000),
        ".wav",
        SAMPLES,
        None,
    ),
    "padding after the samples": (wav(behind=bytes(30_000)), ".wav", SAMPLES, None),
    "1024 channels": (with_1024_channels, ".wav", np.tile(SAMPLES[:40], (1, 1024)), None),
    "another suffix": (encoded("FLAC"), ".wav", SAMPLES, None),
    "IMA ADPCM": (encoded("WAV", subtype="IMA_ADPCM"), ".wav", None, None),
    "MS ADPCM": (encoded("WAV", subtype="MS_ADPCM"), ".wav", None, None),
    "mu-law": (encoded("WAV", subtype="ULAW"), ".wav", None, None),
    "MP3": (encoded("MP3"), ".mp3", None, None),
    "Ogg": (encoded("OGG"), ".ogg", None, None),
    "Opus": (encoded("OGG", SAMPLES, 24000, subtype="OPUS"), ".opus", None, None),
}


@pytest.mark.parametrize("case", READABLE)
def test_a_readable_file_gives_its_samples_and_a_warning_if_some_are_missing(tmp_path, caplog, case):
    make, suffix, expected, warning = READABLE[case]
    path, new = tmp_path / f"odd{suffix}", tmp_path / "new.wav"
    make(path)
    before = path.read_bytes()
    with caplog.at_level(logging.INFO, "partae_fast"):
        samples, rate = files.read(path)
    if expected is None:
        assert LENGTH <= len(samples) < LENGTH + 2000  # whole blocks
        assert np.corrcoef(samples[:LENGTH, 0], SAMPLES[:, 0])[0, 1] > 0.6
    else:
        np.testing.assert_array_equal(samples, expected)
    assert len(caplog.messages) == (warning is not None)
    if warning:
        assert f"{path}: {warning}" in caplog.text and f"{len(samples) / rate:.2f} s" in caplog.text
    denoise_file(Stub(), path, new)
    header = files.info(new)
    assert (header.frames, header.rate, header.channels) == (len(samples), rate, samples.shape[1])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("format", "share", "message"),
    [("MP3", 0.6, "header says 1.36 s; the"), ("OGG", 0.8, "its end is missing"), ("OGG", 0.99, "its end is missing")],
)
def test_a_cut_lossy_file_is_decoded_to_its_end(tmp_path, caplog, format, share, message):
    encoded(format)(tmp_path / "whole")
    cut(encoded(format), share)(tmp_path / "cut")
    whole, part = files.read(tmp_path / "whole")[0], files.read(tmp_path / "cut")[0]
    assert 0.3 * len(whole) < len(part) < len(whole)
    np.testing.assert_allclose(part[:-4000], whole[: len(part) - 4000], atol=1e-6)
    assert message in caplog.text and f"{len(part) / RATE:.2f} s" in caplog.text
    denoise_file(Stub(), tmp_path / "cut", tmp_path / "new.wav")
    assert files.info(tmp_path / "new.wav").frames == len(part)


def test_an_mp3_with_a_hole_is_decoded_up_to_it(tmp_path, caplog):
    overwritten(encoded("MP3"), 0.5, bytes(2000))(tmp_path / "hole.mp3")
    samples, _ = files.read(tmp_path / "hole.mp3")
    assert 0.2 * LENGTH < len(samples) < LENGTH and "damaged or cut short: its header says 1.36 s" in caplog.text


class FailingSource(headers.Source):
    """Source that fails after 12,000 bytes, as on a dying memory card."""

    def readinto(self, buffer):
        if self.tell() < 12_000:
            return super().readinto(buffer)
        self.disk_error = OSError(errno.EIO, os.strerror(errno.EIO))
        return 0


@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3"])
def test_a_disk_error_is_reported_as_one(tmp_path, monkeypatch, format):
    encoded(format, np.tile(SAMPLES, (4, 1)))(tmp_path / "a.wav")
    monkeypatch.setattr(files, "Source", FailingSource)
    monkeypatch.setattr(files, "BLOCK", 8000)
    with pytest.raises(UserError, match=r"a\.wav: cannot be read .*: Input/output error; check the disk"):
        files.read(tmp_path / "a.wav")


def test_a_wav_of_more_than_4_gib_with_a_32_bit_length_is_read_to_its_end(tmp_path, caplog):
    path = tmp_path / "long.wav"
    wav(data=5 * 2**30 - 2**32)(path)
    os.truncate(path, 44 + 5 * 2**30)  # a sparse file, which takes no space on the disk
    assert unclosed_start(path) == 44
    assert files.info(path).frames == 5 * 2**29
    np.testing.assert_array_equal(files.read(path, frames=LENGTH)[0], SAMPLES)
    assert not files.read(path, frames=10, first=5 * 2**29 - 10)[0].any()


def test_a_file_whose_name_is_not_utf_8_is_read_and_written(tmp_path):
    path, new = (tmp_path / os.fsdecode(name) for name in (b"caf\xe9.wav", b"neu\xff.wav"))
    encoded("WAV")(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", path)
    np.testing.assert_array_equal(files.read(path)[0], SAMPLES)
    denoise_file(Stub(), path, new)
    assert files.info(new).frames == LENGTH
    path.write_bytes(b"")
    with pytest.raises(UserError, match="is empty"):
        files.read(path)


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path, monkeypatch):
    path = tmp_path / os.fsdecode(b"caf\xe9.wav")
    encoded("WAV")(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", path)
    printed = io.TextIOWrapper(io.BytesIO(), "utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", printed)
    assert cli.main(["info", str(path)]) == 0
    printed.seek(0)
    assert r"caf\udce9.wav" in printed.read()


@pytest.mark.parametrize(
    "make",
    [flac_of_length(2**36 - 1), wav(data=2**32 - 1), wav(data=0), wav(channels=1024, body=bytes(2**23))],
    ids=["FLAC of 2^36 frames", "WAV of 4 GiB", "WAV without length", "1024 channels"],
)
def test_a_length_in_a_header_allocates_no_memory(tmp_path, make):
    path = tmp_path / "a.wav"
    make(path)
    encoded("WAV", SAMPLES[:10])(tmp_path / "small.wav")
    files.read(tmp_path / "small.wav")  # the libraries allocate their caches
    tracemalloc.start()
    try:
        with contextlib.suppress(UserError):
            for _ in files.blocks(path):
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2e6


# Unusual samples: a model with a gain of 0.9 everywhere returns 0.9 times each. The square of a denormal sample is 0 in
# float32, so these count as silence.
VALUES = {
    "silence": np.zeros(5000),
    "constant": np.full(5000, 0.25),
    "clipped": np.clip(20 * SAMPLES[:5000, 0], -1, 1),
    "one sample": np.full(1, 0.5),
    "shorter than a window": SAMPLES[:63, 0],
    "shorter than a pool": SAMPLES[:900, 0],
    "tiny": 1e-15 * SAMPLES[:5000, 0].astype(float),
    "denormal": 1e-39 * SAMPLES[:5000, 0].astype(float),
    "unscaled integers": 2.0**31 * SAMPLES[:5000, 0].astype(float),
    "the loudest allowed": files.LOUDEST * np.sign(SAMPLES[:5000, 0]),
    "float64": SAMPLES[:5000, 0].astype(float) + 1e-12,
}


@pytest.fixture(scope="module")
def untrained():
    """Return an untrained model whose mask uses all of its settings."""
    model = pf.ConvPartitionedAutoencoder(bins=32, latents=8, taps=9, pool=16, background=0.5, seed=0)
    model.spectrogram = Spectrogram()
    model.mask = Mask(exponent=2, background=0.5, noise=0.5, gate=1.0, smoothing=3)
    return model


@pytest.mark.parametrize("case", VALUES)
def test_all_finite_samples_are_denoised(untrained, case):
    samples = VALUES[case]
    fixed_gain = Fixed(Spectrogram(low=0.0, high=None), 3, 1)
    largest = max(float(np.abs(samples).max()), 1e-45)
    denoised = pf.denoise(samples, RATE, fixed_gain)
    np.testing.assert_allclose(denoised, 0.9 * samples, rtol=0, atol=max(1e-6 * largest, 1e-39))
    for part in pf.denoise(samples, RATE, untrained), pf.denoise(samples, RATE, untrained, "noise"):
        assert part.dtype == np.float32 and part.shape == samples.shape
        assert np.abs(part).max() <= 4 * largest  # false for NaN


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e38, -1e11, 1e300])
def test_samples_that_are_not_finite_or_too_large_are_refused_with_their_time(untrained, value):
    samples = np.zeros((LENGTH, 2))
    samples[RATE // 2 :, 1] = value
    with pytest.raises(UserError, match=r"^denoise: the sample at 0\.500 s is "):
        pf.denoise(samples, RATE, untrained)
    with pytest.raises(UserError, match=r"^recording 0: the sample at 0\.500 s is "):
        prepare([(samples, RATE)], [(SAMPLES, RATE)], system="stowell2015")


@pytest.mark.parametrize("channels", [1, 8])
@pytest.mark.parametrize("rate", [384_000, 192_000, 96_001, 44_101, 11_025, 8000])
def test_denoising_keeps_rates_channels_and_times(rate, channels):
    time = np.arange(rate // 8 + 1) / rate
    tones = np.sin(2 * np.pi * (1000 + 300 * np.arange(channels)) * time[:, None])
    denoised = pf.denoise(tones, rate, Fixed(Spectrogram(low=0.0, high=None), 3, 1))
    assert denoised.shape == tones.shape
    middle = slice(len(time) // 3, -len(time) // 3)
    np.testing.assert_allclose(denoised[middle], 0.9 * tones[middle], rtol=0, atol=5e-3)


@pytest.mark.parametrize(("rate", "channels", "subtype"), [(384_000, 8, "PCM_16"), (8000, 1, "PCM_24")])
def test_a_denoised_file_keeps_rate_channels_length_and_subtype(tmp_path, rate, channels, subtype):
    samples = np.tile(SAMPLES[: LENGTH - 1], (1, channels))
    encoded("WAV", samples, rate, subtype=subtype)(tmp_path / "a.wav")
    denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav")
    header = files.info(tmp_path / "b.wav")
    assert (header.rate, header.channels, header.frames, header.subtype) == (rate, channels, LENGTH - 1, subtype)


@pytest.mark.parametrize("rate", [1, 100, 3000])
def test_a_recording_below_the_band_of_the_model_is_refused(tmp_path, rate):
    wav(rate=rate)(tmp_path / "a.wav")
    samples, file_rate = files.read(tmp_path / "a.wav")
    np.testing.assert_array_equal(samples, SAMPLES)
    assert file_rate == rate
    with within(60), pytest.raises(UserError, match=f"at {rate} Hz ends at {rate / 2:g} Hz.*from 1700 to 7200 Hz"):
        denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.wav")
    assert os.listdir(tmp_path) == ["a.wav"]


def test_a_rate_above_the_limit_is_refused():
    with pytest.raises(UserError, match="rate is 2147483647 Hz; it must be a whole number from 1 to 10000000"):
        pf.denoise(SAMPLES, 2**31 - 1, Stub())


# Sets of training recordings.


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(1)
    for name, rate in (("a.wav", 22050), ("b.wav", 44100), ("quiet.wav", 32000)):
        soundfile.write(tmp_path / name, 0.05 * random.standard_normal(2 * rate), rate)
    return tmp_path


def test_recordings_of_several_rates_are_resampled_to_one(folder):
    material = prepare([folder / "a.wav", folder / "b.wav"], [folder / "quiet.wav"], system="stowell2015")
    assert [len(magnitudes) for magnitudes in (*material.signal, *material.noise)] == [691] * 3
    assert material.spectrogram.rate == RATE


def test_a_repeated_file_is_used_once_and_logged(folder, caplog):
    (folder / "link.wav").symlink_to(folder / "a.wav")
    paths = [folder / "a.wav", folder / "b.wav", folder / "link.wav", folder / "a.wav"]
    material = prepare(paths, [folder / "quiet.wav"], system="stowell2015")
    assert len(material.signal) == 2
    assert caplog.text.count("is the same file as") == 2 and str(folder / "link.wav") in caplog.text


@pytest.mark.parametrize(
    ("recordings", "noise", "message"),
    [
        ([], ["quiet.wav"], "there is no recording"),
        (["a.wav"], [], "there is no noise"),
        (["a.wav", "b.wav"], ["./a.wav"], r"a.wav: is both a recording and noise; leave out one"),
        (["a.wav", "none.wav"], ["quiet.wav"], r"none.wav: no such file"),
        (["a.wav", "short.wav"], ["short.wav"], r"short.wav: is both a recording and noise"),
    ],
)
def test_an_unusable_training_set_is_refused(folder, monkeypatch, recordings, noise, message):
    monkeypatch.chdir(folder)
    soundfile.write("short.wav", np.full(50, 0.1), RATE)
    with pytest.raises(UserError, match=message):
        prepare(recordings, noise, system="stowell2015")


def test_the_denoised_file_keeps_the_tags(tmp_path):
    tags = {"artist": "AudioMoth 24F319055FDF2902", "comment": "Recorded at 05:30:00 22/05/2019 (UTC)"}
    files.write(tmp_path / "a.wav", SAMPLES, RATE, tags=tags)
    denoise_file(Stub(), tmp_path / "a.wav", tmp_path / "b.flac")
    assert files.info(tmp_path / "b.flac").tags.items() >= tags.items()
