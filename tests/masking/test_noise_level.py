"""The noise's level in a mixture, where noise-only audio is off and where the recording has a song."""

import numpy as np
import pytest

from partae_fast.masking.noise_level import noise_level

BINS = 120


def noise(frames=600, seed=0, color=None):
    power = np.random.default_rng(seed).exponential(size=(frames, BINS)).astype(np.float32)
    return power * (1 if color is None else color)


def decibels(level, expected=1.0):
    return 10 * np.log10(level / expected)


@pytest.mark.parametrize("off", [-12.0, -6.0, 0.0, 6.0, 12.0])
def test_noise_only_audio_that_is_off_is_brought_to_the_mixtures_level(off):
    color = np.geomspace(10, 0.1, BINS).astype(np.float32)
    level = noise_level(noise(seed=1, color=color) * np.float32(10 ** (off / 10)), noise(seed=2, color=color))
    assert np.abs(decibels(level, color)).max() < 1.5 and abs(decibels(level, color).mean()) < 0.5


def test_a_song_with_pauses_does_not_raise_the_level():
    mixture = noise(seed=2)
    mixture[::2, 40:80] *= 1000
    mixture[:360, 20:60] *= 50
    assert decibels(noise_level(noise(seed=1), mixture)).max() < 1.5


def test_a_song_that_never_pauses_raises_no_level_and_noise_that_is_missing_lowers_that_of_its_bins():
    mixture = noise(seed=2)
    mixture[:, 20:60] *= 50
    mixture[:, 90:] /= 10
    level = decibels(noise_level(noise(seed=1), mixture))
    assert np.abs(level[20:60]).max() < 1.5
    assert np.abs(level[100:] + 10).max() < 1.5


def test_silence_has_a_level():
    silent = np.zeros((50, BINS), np.float32)
    assert np.isfinite(noise_level(silent, noise())).all() and np.isfinite(noise_level(noise(), silent)).all()
