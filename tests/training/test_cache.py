"""Spectrograms on disk: the values that memory has, made once, made anew where they are damaged or out of date."""

import json
import os

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.audio.resample import resample
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.training.cache import Cache, magnitudes_of
from partae_fast.training.stored import Stored, excerpt, parts

SPECTROGRAM = Spectrogram(rate=8000, n_fft=64, hop=16, low=200.0, high=3000.0)


def sound(seconds, seed=0, rate=8000, channels=1):
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)


@pytest.fixture
def cached(tmp_path):
    """samples, rate -> a Cache and the file of the samples, whose features are in it"""

    def make(samples, rate=8000):
        path = tmp_path / "dawn.wav"
        files.write(path, samples, rate, "FLOAT", overwrite=True)
        cache = Cache(tmp_path / "cache", SPECTROGRAM)
        cache.fill([path])
        return cache, path

    return make


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(40, 8000, 1), (12, 11025, 2), (0.003, 8000, 1)])
def test_the_values_are_those_of_the_whole_recording(cached, seconds, rate, channels):
    samples = sound(seconds, rate=rate, channels=channels)
    cache, path = cached(samples, rate)
    found = cache.features(path)
    assert found.count == channels and found.seconds == len(samples) / rate
    whole = resample(samples, rate, 8000)
    for (channel, stored), audio in zip(found.channels, whole.T, strict=True):
        wanted = SPECTROGRAM.magnitude(audio)
        assert stored.shape == wanted.shape and stored.size == wanted.size
        np.testing.assert_allclose(stored[:], wanted, rtol=0, atol=1e-6 * wanted.max())
        on_disk = np.load(cache.place(path), mmap_mode="r")[channel - 1, : len(wanted)]
        np.testing.assert_array_equal(on_disk, stored[:])


@pytest.mark.parametrize("block", [1, 15, 16, 17, 63, 64, 65, 1000])
def test_blocks_of_any_size_have_the_frames_of_the_whole(block):
    audio = sound(0.1)
    pieces = [audio[i : i + block] for i in range(0, len(audio), block)]
    found = np.concatenate(list(magnitudes_of(iter(pieces), SPECTROGRAM, 1)), axis=1)[0]
    np.testing.assert_allclose(found, SPECTROGRAM.magnitude(audio[:, 0]), rtol=0, atol=1e-6)


def test_a_silent_channel_is_none(cached):
    samples = sound(2, channels=3)
    samples[:, 1] = 0
    found = Cache.features(*cached(samples))
    assert [channel for channel, _ in found.channels] == [1, 3] and found.count == 3
    assert found.level == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-6)


def test_what_is_there_is_not_made_again_and_what_changed_is(cached, tmp_path):
    cache, path = cached(sound(2))
    place = cache.place(path)
    made = place.stat().st_mtime_ns
    assert cache.fill([path]) == 0 and place.stat().st_mtime_ns == made
    other = Cache(tmp_path / "cache", Spectrogram(rate=8000, n_fft=128, hop=16, low=200.0, high=3000.0))
    assert other.fill([path]) == 1
    os.utime(path, ns=(1, 1))
    assert cache.place(path) != place and cache.fill([path]) == 1
    assert not [name for name in os.listdir(tmp_path / "cache") if name.startswith(".")]


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def other_trailer(content):
    return content[:-8] + b"partaeS9"


@pytest.mark.parametrize("damage", [cut, flipped, other_trailer, lambda content: b""])
def test_a_damaged_file_is_made_anew(cached, caplog, damage):
    cache, path = cached(sound(2))
    place = cache.place(path)
    whole = place.read_bytes()
    place.write_bytes(damage(whole))
    assert cache.fill([path]) == 1 and place.read_bytes() == whole
    assert "damaged" in caplog.text


def test_a_recording_that_cannot_be_read_is_told_and_the_others_stay(cached, tmp_path):
    cache, path = cached(sound(2))
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(UserError, match=r"bad\.wav"):
        cache.fill([path, tmp_path / "bad.wav"])
    assert cache.fill([path]) == 0


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be a folder"):
        Cache(tmp_path / "file", SPECTROGRAM)


@pytest.fixture
def stored(tmp_path):
    """A Stored of 1000 frames of 3 bins, and the array that it is"""
    values = np.random.default_rng(0).random((1000, 3), dtype=np.float32)
    (tmp_path / "values").write_bytes(b"head" + values.tobytes())
    return Stored(tmp_path / "values", 1000, 3, 4, "0" * 64), values


def test_slices_masks_and_factors_are_an_arrays(stored):
    its, values = stored
    for key in (slice(None), slice(10, 20), slice(-5, None), slice(990, 2000), slice(5, 5), slice(7, 3)):
        np.testing.assert_array_equal(its[key], values[key])
    random = np.random.default_rng(1)
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = random.random(1000) < share
        part, wanted = its[mask], values[mask]
        assert part.shape == wanted.shape
        for key in (slice(None), slice(3, 400), slice(1, 2), slice(-2, None)):
            np.testing.assert_array_equal(part[key], wanted[key])
        again = random.random(len(part)) < 0.5
        np.testing.assert_array_equal(part[again][:], wanted[again])
    its *= np.float32(0.5)
    its *= np.float32(3)
    np.testing.assert_array_equal(its[2:5], values[2:5] * np.float32(1.5))
    np.testing.assert_array_equal(np.asarray(its), values * np.float32(1.5))
    np.testing.assert_array_equal(np.concatenate(list(parts(its))), values * np.float32(1.5))
    for wrong in (slice(None, None, 2), np.ones(5, bool), 3):
        with pytest.raises(IndexError):
            its[wrong]


def test_other_frames_or_another_level_are_another_identity(stored):
    its, values = stored
    seen = {its.identity(), its[values[:, 0] < 0.5].identity()}
    its *= 2
    assert len(seen | {its.identity()}) == 3


def test_an_excerpt_is_of_the_recordings_and_bounded(stored):
    its, values = stored
    assert excerpt([values], 10, 1, 0)[0] is values  # in memory already
    (part,) = excerpt([its], 10, 1, 0)
    np.testing.assert_array_equal(part, values)  # one stretch is more than asked for
    many = excerpt([its] * 50, 5000, 8, 3)
    assert sum(map(len, many)) == 5000
    assert [m.tobytes() for m in many] == [m.tobytes() for m in excerpt([its] * 50, 5000, 8, 3)]


def test_what_the_file_says_can_be_read_by_others(cached):
    cache, path = cached(sound(1))
    content = cache.place(path).read_bytes()
    length = int.from_bytes(content[-16:-8], "little")
    about = json.loads(content[-16 - length : -16])
    assert about["recording"] == os.path.realpath(path) and about["spectrogram"]["n_fft"] == 64
