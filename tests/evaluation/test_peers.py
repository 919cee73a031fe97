"""The peers, on a song in white noise."""

import importlib.util

import numpy as np
import pytest
from scipy.signal import correlate

import partae_fast as pf
from partae_fast.errors import UserError
from partae_fast.evaluation import peers
from partae_fast.evaluation.scenes import Scene
from partae_fast.metrics import band, si_sdr
from tests.calls import fit

from .conftest import RATE, hiss, song

SCENE = Scene("s", song(), hiss(3.0, 0), hiss(2.0, 1), RATE, (2000.0, 4500.0))
FILTERS = {"wiener": peers.wiener, "gate": peers.gate, "ratio mask": peers.ratio_mask(SCENE.song)}


def score(estimate):
    return si_sdr(band(SCENE.song, RATE, *SCENE.band), band(estimate, RATE, *SCENE.band))


@pytest.mark.parametrize("level", [-5.0, 5.0])
def test_filters_improve_si_sdr_and_the_true_mask_improves_it_most(level):
    mixture, noise_only = SCENE.mixture(level)
    scores = {name: score(denoiser(mixture, noise_only, RATE)) for name, denoiser in FILTERS.items()}
    assert min(scores.values()) > score(mixture) + 3
    assert scores["ratio mask"] == max(scores.values())


@pytest.mark.parametrize("name", FILTERS)
def test_estimates_have_the_length_and_type_of_the_mixture_at_any_rate(name):
    for rate, length in ((RATE, 4001), (8000, 300), (44100, 9000)):
        mixture = hiss(length / rate, 3, rate)
        denoiser = peers.ratio_mask(0.5 * mixture) if name == "ratio mask" else FILTERS[name]
        estimate = denoiser(mixture, hiss(1.0, 4, rate), rate)
        assert estimate.shape == mixture.shape and estimate.dtype == np.float32 and np.isfinite(estimate).all()


@pytest.mark.parametrize("name", ["wiener", "gate"])
def test_filters_remove_noise_and_keep_much_louder_sound(name):
    noise_only = hiss(3.0, 5)
    quiet, loud = FILTERS[name](hiss(2.0, 6), noise_only, RATE), FILTERS[name](100 * hiss(2.0, 6), noise_only, RATE)
    assert np.square(quiet).mean() < 0.02 * np.square(hiss(2.0, 6)).mean()
    np.testing.assert_allclose(loud[800:], 100 * hiss(2.0, 6)[800:], atol=0.1)  # after the filter has adapted


def test_gate_matches_its_formula():
    grid = pf.Spectrogram(rate=22050, n_fft=256, hop=64, low=0.0, high=None)
    mixture, noise_only = hiss(0.5, 7, 22050) + song(0.5, rate=22050), hiss(0.4, 8, 22050)
    spectra, psd = grid.stft(mixture), (np.abs(grid.stft(noise_only)) ** 2).mean(0)
    power = np.pad(np.abs(spectra) ** 2, 1, mode="edge")
    smooth = sum(power[i : i + len(spectra), j : j + spectra.shape[1]] for i in range(3) for j in range(3)) / 9
    expected = grid.istft(spectra * np.maximum(1 - 4 * psd / smooth, 0), len(mixture))
    np.testing.assert_allclose(peers.gate(mixture, noise_only, 22050), expected, atol=1e-6)


def test_filters_keep_silence_and_change_nothing_if_the_noise_is_silent():
    silent = np.zeros(RATE, np.float32)
    for name in ("wiener", "gate"):
        assert not FILTERS[name](silent, hiss(1.0, 9), RATE).any()
        estimate = FILTERS[name](song(1.0), silent, RATE)
        np.testing.assert_allclose(estimate, song(1.0), atol=1e-4)


def test_noisereduce_uses_noise_only_audio_in_its_stationary_mode_alone():
    pytest.importorskip("noisereduce")
    mixture, noise_only = SCENE.mixture(0.0)
    estimate = peers.noisereduce(True)(mixture, noise_only, RATE)
    assert estimate.shape == mixture.shape and estimate.dtype == np.float32 and score(estimate) > 3
    assert not np.array_equal(estimate, peers.noisereduce(True)(mixture, 10 * noise_only, RATE))
    other = peers.noisereduce(False)
    assert np.array_equal(other(mixture, noise_only, RATE), other(mixture, 10 * noise_only, RATE))


def test_missing_noisereduce_raises_with_the_install_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"noisereduce is not installed; `pip install partae-fast\[evaluate\]`"):
        peers.noisereduce(True)


@pytest.mark.parametrize("rate", [RATE, 48000])
def test_rnnoise_keeps_time_and_length_and_ignores_noise_only_audio(rate):
    """A voice-like tone of 200 Hz with vibrato comes out at its place, whatever the rate and the odd length."""
    pytest.importorskip("pyrnnoise")
    time = np.arange(2 * rate + 7) / rate
    voice = sum(np.sin(2 * np.pi * 200 * k * time + 3 * k * np.sin(2 * np.pi * 5 * time)) / k for k in range(1, 8))
    voice = (0.1 * voice * (np.sin(2 * np.pi * 2 * time) > 0)).astype(np.float32)
    estimate = peers.rnnoise()(voice, voice, rate)
    assert estimate.shape == voice.shape and estimate.dtype == np.float32
    late = correlate(estimate, voice, "full").argmax() - (len(voice) - 1)
    assert abs(late) <= rate // 1000
    assert np.array_equal(estimate, peers.rnnoise()(voice, 0 * voice, rate))


def test_missing_rnnoise_raises_with_the_install_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pyrnnoise is not installed; `pip install pyrnnoise`"):
        peers.rnnoise()


def test_trained_and_with_model_equal_fit_and_denoise():
    mixture, noise_only = SCENE.mixture(0.0)
    settings = {"system": "stowell2015", "steps": 3, "seed": 4, "backend": "eager"}
    model = fit([(mixture, RATE)], [(noise_only, RATE)], low=2000.0, high=4500.0, progress=False, **settings)
    expected = pf.denoise(mixture, RATE, model)
    assert np.array_equal(peers.trained(SCENE.band, **settings)(mixture, noise_only, RATE), expected)
    assert np.array_equal(peers.with_model(model)(mixture, noise_only, RATE), expected)
