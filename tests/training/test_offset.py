"""An offset of the recorder changes neither the spectrograms that a model learns from nor their level."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.systems.field import Settings
from partae_fast.systems.filter import learned_filter
from partae_fast.training.material import Material
from partae_fast.training.spectrograms import AskedSpectrogram, prepare

RATE = 22050


def recordings(folder, offset):
    """Write a noisy recording and noise with an offset; return their paths."""
    paths = []
    for seed, name in enumerate(("song.wav", "noise.wav")):
        samples = np.random.default_rng(seed).normal(0, 1e-3, 2 * RATE).astype(np.float32) + np.float32(offset)
        files.write(folder / f"{offset}{name}", samples, RATE, "FLOAT")
        paths.append(folder / f"{offset}{name}")
    return paths


@pytest.mark.parametrize("cached", [False, True])
def test_spectrograms_are_those_of_a_recorder_without_offset(tmp_path, cached):
    """Song Meters have an offset of 0.03, some 30 times the noise."""
    prepared = []
    for offset in (0.0, 0.03):
        song, noise = recordings(tmp_path, offset)
        cache = tmp_path / "cache" if cached else None
        prepared.append(prepare(Material([song], noise=[noise]), Settings.usual, AskedSpectrogram(), 1.0, cache=cache))
    plain, shifted = prepared
    assert shifted.spectrogram.gain == pytest.approx(plain.spectrogram.gain, rel=1e-3)
    for kind in ("signal", "noise"):
        first, second = (getattr(spectrograms, kind)[0][:] for spectrograms in prepared)
        np.testing.assert_allclose(second, first, rtol=0, atol=1e-3)


def test_the_filter_is_that_of_a_recorder_without_offset(tmp_path):
    levels = []
    for offset in (0.0, 0.03):
        song, noise = recordings(tmp_path, offset)
        material = Material([song], noise=[noise])
        spectrogram = prepare(material, Settings.usual, AskedSpectrogram(), 1.0).spectrogram
        levels.append(learned_filter(material, spectrogram, 0).state_dict())
    for name, level in levels[0].items():
        np.testing.assert_allclose(levels[1][name].numpy(), level.numpy(), rtol=0.01)
