"""From samples to magnitudes and from gains to samples: the kernels against the plain way."""

import numpy as np
import pytest

from partae_fast.audio import Spectrogram
from partae_fast.denoising import stft, stft_cpu
from partae_fast.kernels.vectors import LANES

SETTINGS = [
    {"n_fft": 256, "hop": 64, "low": 80.0, "high": 11025.0},
    {},
    {"n_fft": 128, "hop": 16, "low": 0.0, "high": None, "gain": 3.0, "window": "sqrt-hann"},
    {"n_fft": 2 * LANES, "hop": LANES, "low": 3000.0, "high": 11025.0},
]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def samples(spectrogram, frames, channels):
    return noise((frames - 1) * spectrogram.hop + spectrogram.n_fft, channels)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("frames", "before", "count", "channels"),
    [(1, 0, 1, 1), (LANES, 0, LANES, 1), (LANES + 1, LANES, 1, 3), (3 * LANES + 5, 3, 3 * LANES - 1, 2)],
)
def test_kernels_do_what_the_plain_way_does(settings, frames, before, count, channels):
    spectrogram = Spectrogram(**settings)
    assert stft_cpu.serves(spectrogram)
    audio, gains = samples(spectrogram, frames, channels), np.abs(noise(channels, count, spectrogram.bins, seed=1))
    found, magnitudes = stft_cpu.analyse(audio, spectrogram)
    spectra, wanted = stft.analyse(audio, spectrogram)
    assert magnitudes.flags.c_contiguous
    np.testing.assert_allclose(magnitudes, wanted, rtol=1e-5, atol=1e-5 * spectrogram.gain)
    total = stft_cpu.synthesise(found, gains, spectrogram, 0.1, before)
    wanted = stft.synthesise(spectra, gains, spectrogram, 0.1, before)
    np.testing.assert_allclose(total, wanted, rtol=1e-5, atol=1e-6)


def test_the_plain_way_is_the_spectrograms():
    spectrogram, audio = Spectrogram(low=0.0, high=None), noise(1000)
    padded = np.zeros((spectrogram.frame_count(1000) - 1) * spectrogram.hop + spectrogram.n_fft, np.float32)
    padded[spectrogram.n_fft // 2 :][:1000] = audio
    spectra, magnitudes = stft.analyse(padded[:, None], spectrogram)
    np.testing.assert_allclose(magnitudes[0], spectrogram.magnitude(audio), rtol=1e-6)
    gains = np.ones(magnitudes.shape, np.float32)
    total, weight = stft.synthesise(spectra, gains, spectrogram, 0.0, 0), spectrogram.weight(len(magnitudes[0]))
    inside = slice(spectrogram.n_fft // 2, spectrogram.n_fft // 2 + 1000)
    np.testing.assert_allclose(total[0, inside] / weight[inside], audio, rtol=0, atol=2e-6)


@pytest.mark.parametrize("settings", [{"n_fft": 96, "hop": 48}, {"n_fft": 128, "hop": LANES // 2}])
def test_frames_that_fill_no_lanes_are_left_to_the_plain_way(settings):
    assert not stft_cpu.serves(Spectrogram(**settings))


@pytest.mark.parametrize("way", [stft, stft_cpu])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gains_that_are_not_finite_are_found(way, value):
    spectrogram = Spectrogram()
    spectra, magnitudes = way.analyse(samples(spectrogram, 20, 1), spectrogram)
    gains = np.ones_like(magnitudes)
    assert way.synthesise(spectra, gains, spectrogram, 0.0, 0) is not None
    gains[0, 19, 31] = value
    assert way.synthesise(spectra, gains, spectrogram, 0.0, 0) is None
    assert way.synthesise(spectra, gains[:, 3:19], spectrogram, 0.0, 3) is not None
