"""The blockwise transforms, compared with `Spectrogram`."""

import numpy as np
import pytest

from partae_fast.audio import Spectrogram
from partae_fast.denoising import stft

SETTINGS = [
    {"n_fft": 256, "hop": 64, "low": 80.0, "high": 11025.0},
    {},
    {"n_fft": 128, "hop": 16, "low": 0.0, "high": None, "gain": 3.0, "window": "sqrt-hann"},
    {"n_fft": 96, "hop": 48, "low": 3000.0, "high": 11025.0},
]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def samples(spectrogram, frames, channels):
    return noise((frames - 1) * spectrogram.hop + spectrogram.n_fft, channels)


@pytest.fixture(params=[2**10, stft.SAMPLES_PER_BLOCK])
def block(request, monkeypatch):
    monkeypatch.setattr(stft, "SAMPLES_PER_BLOCK", request.param)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(
    ("frames", "before", "count", "channels"), [(1, 0, 1, 1), (16, 0, 16, 1), (17, 16, 1, 3), (53, 3, 47, 2)]
)
def test_both_transforms_equal_those_of_the_spectrogram(block, settings, frames, before, count, channels):
    spectrogram = Spectrogram(**settings)
    audio, gains = samples(spectrogram, frames, channels), np.abs(noise(channels, count, spectrogram.bins, seed=1))
    spectra, magnitudes = stft.analyse(audio, spectrogram)
    band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
    full = np.stack([spectrogram.spectra(channel) for channel in audio.T])
    assert (spectra.dtype, magnitudes.dtype) == (np.complex64, np.float32)
    assert magnitudes.flags.c_contiguous
    np.testing.assert_array_equal(spectra, full[..., band])
    np.testing.assert_array_equal(magnitudes, np.abs(full[..., band]) * np.float32(spectrogram.gain))
    total = stft.synthesise(spectra, gains, spectrogram, 0.1, before)
    weighted = np.zeros((channels, count, full.shape[2]), np.complex64)
    weighted[..., band] = spectra[:, before : before + count] * np.maximum(gains - np.float32(0.1), 0)
    expected = np.stack([spectrogram.overlap_add(channel)[0] for channel in weighted])
    assert total is not None and total.dtype == np.float32
    np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-6)


def test_gains_of_1_reconstruct_the_samples(block):
    spectrogram, audio = Spectrogram(low=0.0, high=None), noise(1000)
    padded = np.zeros((spectrogram.frame_count(1000) - 1) * spectrogram.hop + spectrogram.n_fft, np.float32)
    padded[spectrogram.n_fft // 2 :][:1000] = audio
    spectra, magnitudes = stft.analyse(padded[:, None], spectrogram)
    np.testing.assert_allclose(magnitudes[0], spectrogram.magnitude(audio), rtol=1e-6)
    gains = np.ones(magnitudes.shape, np.float32)
    total, weight = stft.synthesise(spectra, gains, spectrogram, 0.0, 0), spectrogram.weight(len(magnitudes[0]))
    inside = slice(spectrogram.n_fft // 2, spectrogram.n_fft // 2 + 1000)
    np.testing.assert_allclose(total[0, inside] / weight[inside], audio, rtol=0, atol=2e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_gains_that_are_not_finite_give_none(value):
    spectrogram = Spectrogram()
    spectra, magnitudes = stft.analyse(samples(spectrogram, 20, 1), spectrogram)
    gains = np.ones_like(magnitudes)
    assert stft.synthesise(spectra, gains, spectrogram, 0.0, 0) is not None
    gains[0, 19, 31] = value
    assert stft.synthesise(spectra, gains, spectrogram, 0.0, 0) is None
    assert stft.synthesise(spectra, gains[:, 3:19], spectrogram, 0.0, 3) is not None
