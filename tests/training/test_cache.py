"""Spectrograms on disk: equal to those in memory, computed once, and again if damaged or out of date."""

import gc
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from partae_fast.audio import files
from partae_fast.audio.resample import resample
from partae_fast.audio.spectrogram import Spectrogram
from partae_fast.errors import UserError
from partae_fast.scratch import ScratchFolder
from partae_fast.training import spectrograms
from partae_fast.training.cache import Cache, magnitudes_of
from partae_fast.training.stored import Stored, excerpt, parts
from tests.calls import fit

SPECTROGRAM = Spectrogram(rate=8000, n_fft=64, hop=16, low=200.0, high=3000.0)


def sound(seconds, seed=0, rate=8000, channels=1):
    return np.random.default_rng(seed).normal(0, 0.1, (round(seconds * rate), channels)).astype(np.float32)


@pytest.fixture
def cached(tmp_path):
    """Return a function of samples and rate that returns a Cache and the path of a recording in it."""

    def make(samples, rate=8000):
        path = tmp_path / "dawn.wav"
        files.write(path, samples, rate, "FLOAT", overwrite=True)
        cache = Cache(tmp_path / "cache", SPECTROGRAM)
        cache.fill([path])
        return cache, path

    return make


@pytest.mark.parametrize(("seconds", "rate", "channels"), [(40, 8000, 1), (12, 11025, 2), (0.003, 8000, 1)])
def test_values_are_those_of_the_recording_in_memory(cached, seconds, rate, channels):
    samples = sound(seconds, rate=rate, channels=channels)
    cache, path = cached(samples, rate)
    features = cache.features(path)
    assert features.count == channels and features.seconds == len(samples) / rate
    whole = resample(samples, rate, 8000)
    for (channel, stored), audio in zip(features.channels, whole.T, strict=True):
        expected = SPECTROGRAM.magnitude(audio)
        assert stored.shape == expected.shape and stored.size == expected.size
        np.testing.assert_allclose(stored[:], expected, rtol=0, atol=1e-6 * expected.max())
        on_disk = np.load(cache.path_of(path), mmap_mode="r")[channel - 1, : len(expected)]
        np.testing.assert_array_equal(on_disk, stored[:])


@pytest.mark.parametrize("block", [1, 15, 16, 17, 63, 64, 65, 1000])
def test_blocks_of_any_size_give_the_same_frames(block):
    audio = sound(0.1)
    pieces = [audio[i : i + block] for i in range(0, len(audio), block)]
    magnitudes = np.concatenate(list(magnitudes_of(iter(pieces), SPECTROGRAM, 1)), axis=1)[0]
    np.testing.assert_allclose(magnitudes, SPECTROGRAM.magnitude(audio[:, 0]), rtol=0, atol=1e-6)


def test_a_silent_channel_is_left_out(cached):
    samples = sound(2, channels=3)
    samples[:, 1] = 0
    features = Cache.features(*cached(samples))
    assert [channel for channel, _ in features.channels] == [1, 3] and features.count == 3
    assert features.level == pytest.approx(np.sqrt(np.mean(samples**2)), rel=1e-6)


def test_only_changed_recordings_are_computed_again(cached, tmp_path):
    cache, path = cached(sound(2))
    cached_path = cache.path_of(path)
    made = cached_path.stat().st_mtime_ns
    assert cache.fill([path]) == 0 and cached_path.stat().st_mtime_ns == made
    other = Cache(tmp_path / "cache", Spectrogram(rate=8000, n_fft=128, hop=16, low=200.0, high=3000.0))
    assert other.fill([path]) == 1
    os.utime(path, ns=(1, 1))
    assert cache.path_of(path) != cached_path and cache.fill([path]) == 1
    assert not [name for name in os.listdir(tmp_path / "cache") if name.startswith(".")]


def cut(content):
    return content[: len(content) // 2]


def flipped(content):
    return content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]


def other_trailer(content):
    return content[:-8] + b"partaeS9"


@pytest.mark.parametrize("damage", [cut, flipped, other_trailer, lambda content: b""])
def test_a_damaged_file_is_computed_again(cached, caplog, damage):
    cache, path = cached(sound(2))
    cached_path = cache.path_of(path)
    whole = cached_path.read_bytes()
    cached_path.write_bytes(damage(whole))
    assert cache.fill([path]) == 1 and cached_path.read_bytes() == whole
    assert "damaged" in caplog.text


def test_an_unreadable_recording_is_refused_and_the_others_stay(cached, tmp_path):
    cache, path = cached(sound(2))
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(UserError, match=r"bad\.wav"):
        cache.fill([path, tmp_path / "bad.wav"])
    assert cache.fill([path]) == 0


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be a folder"):
        Cache(tmp_path / "file", SPECTROGRAM)


@pytest.fixture
def stored(tmp_path):
    """Return a Stored of 1000 frames of 3 bins, and the same as an array."""
    values = np.random.default_rng(0).random((1000, 3), dtype=np.float32)
    (tmp_path / "values").write_bytes(b"head" + values.tobytes())
    return Stored(tmp_path / "values", 1000, 3, 4, "0" * 64), values


def test_slices_masks_and_factors_are_those_of_an_array(stored):
    on_disk, values = stored
    for key in (slice(None), slice(10, 20), slice(-5, None), slice(990, 2000), slice(5, 5), slice(7, 3)):
        np.testing.assert_array_equal(on_disk[key], values[key])
    random = np.random.default_rng(1)
    for share in (0.0, 0.01, 0.5, 1.0):
        mask = random.random(1000) < share
        part, expected = on_disk[mask], values[mask]
        assert part.shape == expected.shape
        for key in (slice(None), slice(3, 400), slice(1, 2), slice(-2, None)):
            np.testing.assert_array_equal(part[key], expected[key])
        again = random.random(len(part)) < 0.5
        np.testing.assert_array_equal(part[again][:], expected[again])
    on_disk *= np.float32(0.5)
    on_disk *= np.float32(3)
    np.testing.assert_array_equal(on_disk[2:5], values[2:5] * np.float32(1.5))
    np.testing.assert_array_equal(np.asarray(on_disk), values * np.float32(1.5))
    np.testing.assert_array_equal(np.concatenate(list(parts(on_disk))), values * np.float32(1.5))
    for wrong in (slice(None, None, 2), np.ones(5, bool), 3):
        with pytest.raises(IndexError):
            on_disk[wrong]


def test_identity_depends_on_frames_and_level(stored):
    on_disk, values = stored
    identities = {on_disk.identity(), on_disk[values[:, 0] < 0.5].identity()}
    on_disk *= 2
    assert len(identities | {on_disk.identity()}) == 3


def test_an_excerpt_is_of_the_recordings_and_bounded(stored):
    on_disk, values = stored
    assert excerpt([values], 10, 1, 0)[0] is values  # in memory already
    (part,) = excerpt([on_disk], 10, 1, 0)
    np.testing.assert_array_equal(part, values)  # one stretch is more than asked for
    many = excerpt([on_disk] * 50, 5000, 8, 3)
    assert sum(map(len, many)) == 5000
    assert [m.tobytes() for m in many] == [m.tobytes() for m in excerpt([on_disk] * 50, 5000, 8, 3)]


def test_what_the_file_says_can_be_read_by_others(cached):
    cache, path = cached(sound(1))
    content = cache.path_of(path).read_bytes()
    length = int.from_bytes(content[-16:-8], "little")
    about = json.loads(content[-16 - length : -16])
    assert about["recording"] == os.path.realpath(path) and about["spectrogram"]["n_fft"] == 64


def test_large_recordings_are_stored_in_a_temporary_cache(tmp_path, monkeypatch, caplog):
    """A FLAC file of 3.3 MB with 5.8 h of audio took 12 GB."""
    for name, seed in (("song.wav", 0), ("noise.wav", 1)):
        files.write(tmp_path / name, sound(20, seed, 22050, 2), 22050)
    (tmp_path / "models").mkdir()
    arguments = {
        "recordings": [tmp_path / "song.wav"],
        "noise": [tmp_path / "noise.wav"],
        "system": "stowell2015",
        "steps": 3,
        "backend": "eager",
        "progress": False,
        "checkpoint": tmp_path / "models" / "m.checkpoint",
        "overwrite": True,
    }
    expected = fit(**arguments, cache=tmp_path / "cache")
    monkeypatch.setattr(spectrograms, "IN_MEMORY", 80 * 344.5 * 32 * 4 - 1e4)
    with caplog.at_level("INFO", "partae_fast"):
        model = fit(**arguments)
    assert f"they are stored in {tmp_path}/models/.partae-spectrograms-" in caplog.text
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), expected.parameters(), strict=True))
    gc.collect()
    assert not list((tmp_path / "models").glob(".partae-spectrograms-*"))
    monkeypatch.setattr(spectrograms, "IN_MEMORY", 80 * 344.6 * 32 * 4 + 1e4)
    caplog.clear()
    left = ScratchFolder(".partae-spectrograms-", tmp_path / "models")
    left._lock.close()  # as of a process that was killed
    fit(**arguments)
    assert "they are stored" not in caplog.text and not Path(left.name).exists()


def test_a_disk_without_space_for_large_spectrograms_is_named(tmp_path, monkeypatch):
    files.write(tmp_path / "song.wav", sound(2), 8000)
    monkeypatch.setattr(spectrograms, "IN_MEMORY", 0)
    monkeypatch.setattr(spectrograms.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(
        UserError, match=r"take 0.0 GB, and .* has 0.0 GB left; give a folder on a larger disk with cache"
    ):
        fit([tmp_path / "song.wav"], [(sound(2, 1), 8000)], system="stowell2015", steps=1)
    assert not list(tmp_path.glob(".partae*"))
