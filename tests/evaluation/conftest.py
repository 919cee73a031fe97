"""A folder of made-up recordings: two songs, two noises."""

import numpy as np
import pytest

from partae_fast.audio import files

RATE = 16000


def song(seconds=3.0, pitch=2500.0, rate=RATE):
    """Notes of 0.15 s, two a second, that rise from `pitch` by 1 kHz."""
    t = np.arange(round(seconds * rate)) / rate
    at = t % 0.5
    notes = np.sin(2 * np.pi * (pitch * at + 3300 * at**2)) * np.sin(np.pi * np.minimum(at / 0.15, 1))
    return (0.3 * notes).astype(np.float32)


def hiss(seconds, seed, rate=RATE):
    """White noise."""
    return (0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))).astype(np.float32)


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, samples, rate, "FLOAT", overwrite=True)


@pytest.fixture
def folder(tmp_path):
    """clean/ with a and b, noise/ with wind and, at another rate, rain; short enough to train on in a second."""
    write(tmp_path / "clean" / "a.wav", song())
    write(tmp_path / "clean" / "b.wav", song(4.0, pitch=3000.0))
    write(tmp_path / "noise" / "wind.wav", hiss(6.0, 1))
    write(tmp_path / "noise" / "rain.wav", hiss(5.0, 2, 12000), 12000)
    return tmp_path
