"""The denoisers do what their names promise, on a song in white noise."""

import importlib.util

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.errors import UserError
from partae_fast.evaluation import peers
from partae_fast.evaluation.scenes import Scene
from partae_fast.metrics import band, si_sdr
from tests.calls import fit

from .conftest import RATE, hiss, song

SCENE = Scene("s", song(), hiss(3.0, 0), hiss(2.0, 1), RATE, (2000.0, 4500.0))
FREE = {"wiener": peers.wiener, "gate": peers.gate, "ratio mask": peers.ratio_mask(SCENE.song)}


def score(estimate):
    return si_sdr(band(SCENE.song, RATE, *SCENE.band), band(estimate, RATE, *SCENE.band))


@pytest.mark.parametrize("level", [-5.0, 5.0])
def test_filters_gain_on_easy_noise_and_the_true_mask_is_above_them(level):
    mixture, noise_only = SCENE.mixture(level)
    found = {name: score(denoiser(mixture, noise_only, RATE)) for name, denoiser in FREE.items()}
    assert min(found.values()) > score(mixture) + 3
    assert found["ratio mask"] == max(found.values())


@pytest.mark.parametrize("name", FREE)
def test_estimates_have_the_mixtures_length_and_type_at_any_rate(name):
    for rate, length in ((RATE, 4001), (8000, 300), (44100, 9000)):
        mixture = hiss(length / rate, 3, rate)
        estimate = peers.ratio_mask(0.5 * mixture) if name == "ratio mask" else FREE[name]
        done = estimate(mixture, hiss(1.0, 4, rate), rate)
        assert done.shape == mixture.shape and done.dtype == np.float32 and np.isfinite(done).all()


@pytest.mark.parametrize("name", ["wiener", "gate"])
def test_what_is_as_loud_as_the_noise_is_taken_away_and_what_is_far_louder_is_kept(name):
    noise_only = hiss(3.0, 5)
    quiet, loud = FREE[name](hiss(2.0, 6), noise_only, RATE), FREE[name](100 * hiss(2.0, 6), noise_only, RATE)
    assert np.square(quiet).mean() < 0.02 * np.square(hiss(2.0, 6)).mean()
    np.testing.assert_allclose(loud[800:], 100 * hiss(2.0, 6)[800:], atol=0.1)  # once the filter has found out


def test_gate_is_the_formula():
    grid = pf.Spectrogram(rate=22050, n_fft=256, hop=64, low=0.0, high=None)
    mixture, noise_only = hiss(0.5, 7, 22050) + song(0.5, rate=22050), hiss(0.4, 8, 22050)
    spectra, psd = grid.stft(mixture), (np.abs(grid.stft(noise_only)) ** 2).mean(0)
    power = np.pad(np.abs(spectra) ** 2, 1, mode="edge")
    smooth = sum(power[i : i + len(spectra), j : j + spectra.shape[1]] for i in range(3) for j in range(3)) / 9
    expected = grid.istft(spectra * np.maximum(1 - 4 * psd / smooth, 0), len(mixture))
    np.testing.assert_allclose(peers.gate(mixture, noise_only, 22050), expected, atol=1e-6)


def test_silence_stays_silence_and_is_no_noise():
    silent = np.zeros(RATE, np.float32)
    for name in ("wiener", "gate"):
        assert not FREE[name](silent, hiss(1.0, 9), RATE).any()
        done = FREE[name](song(1.0), silent, RATE)
        np.testing.assert_allclose(done, song(1.0), atol=1e-4)


def test_noisereduce_gains_in_its_stationary_mode_and_only_that_hears_the_noise_only_audio():
    pytest.importorskip("noisereduce")
    mixture, noise_only = SCENE.mixture(0.0)
    done = peers.noisereduce(True)(mixture, noise_only, RATE)
    assert done.shape == mixture.shape and done.dtype == np.float32 and score(done) > 3
    assert not np.array_equal(done, peers.noisereduce(True)(mixture, 10 * noise_only, RATE))
    other = peers.noisereduce(False)
    assert np.array_equal(other(mixture, noise_only, RATE), other(mixture, 10 * noise_only, RATE))


def test_noisereduce_is_asked_for_in_one_line_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"noisereduce is not installed; `pip install partae-fast\[evaluate\]`"):
        peers.noisereduce(True)


def test_ours_is_fit_and_denoise_on_what_the_others_get():
    mixture, noise_only = SCENE.mixture(0.0)
    settings = {"system": "stowell2015", "steps": 3, "seed": 4, "backend": "eager"}
    model = fit([(mixture, RATE)], [(noise_only, RATE)], low=2000.0, high=4500.0, progress=False, **settings)
    expected = pf.denoise(mixture, RATE, model)
    assert np.array_equal(peers.trained(SCENE.band, **settings)(mixture, noise_only, RATE), expected)
    assert np.array_equal(peers.with_model(model)(mixture, noise_only, RATE), expected)
