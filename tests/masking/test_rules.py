"""Tests of the rules that set a mask from noise-only audio."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.masking.rules import BYPASS, cautious, quantile_of_power, typical_power, with_bypass
from partae_fast.systems.field import Settings

MASK = Settings.mask


def steady_noise(frames=4000, bins=6, seed=0):
    """Return magnitudes of white noise in overlapping windows.

    They are correlated over about three frames.
    """
    power = np.random.default_rng(seed).exponential(1.0, (frames + 2, bins))
    return np.sqrt(power[:-2] / 4 + power[1:-1] / 2 + power[2:] / 4).astype(np.float32)


def test_typical_power_ignores_a_thud_and_silence():
    steady = steady_noise()
    mean_square = (steady**2).mean(axis=0)
    usual = typical_power([steady], [steady])
    assert ((usual > 0.4 * mean_square) & (usual < mean_square)).all()
    thud = steady.copy()
    thud[1000:1040] *= 30
    assert (thud**2).mean() > 8 * (steady**2).mean()
    np.testing.assert_allclose(typical_power([thud], [steady]), usual, rtol=0.25)
    silence = np.zeros_like(steady)
    np.testing.assert_allclose(typical_power([np.concatenate([silence, steady]), silence], [steady]), usual, rtol=0.02)


def test_typical_power_ignores_noise_missing_from_other_recordings():
    steady = steady_noise()
    hum = steady * np.float32([1, 1, 10, 1, 1, 1])
    ratio = typical_power([hum], [steady_noise(seed=1)]) / typical_power([steady], [steady])
    assert 2 < ratio[2] < 8  # its power is 100 times as high
    np.testing.assert_allclose(ratio[[0, 5]], 1, atol=0.1)


def test_bypass_grows_with_the_variation_of_noise():
    mask, steady = pf.denoising.Mask(bypass=0.0), steady_noise()
    assert with_bypass(mask, [steady]).bypass == BYPASS
    unsteady = steady * np.repeat(np.float32([1, 1, 3, 1]), 1000)[:, None]
    louder = with_bypass(mask, [unsteady]).bypass
    assert 10 * BYPASS < louder < np.inf
    assert with_bypass(mask, [7 * unsteady]).bypass == pytest.approx(louder)


def test_mask_is_milder_with_little_noise():
    short, middle, long = (cautious(MASK, [steady_noise(n), steady_noise(n)]) for n in (200, 500, 900))
    assert long == MASK
    assert (short.noise, short.gate) == (0.1, 1.0)
    assert short.noise < middle.noise < long.noise and short.gate < middle.gate < long.gate


def test_quantile_of_power_samples_a_whole_long_recording():
    rising = np.repeat(np.arange(1.0, 101.0, dtype=np.float32)[:, None], 512, axis=0) ** 0.5
    np.testing.assert_allclose(quantile_of_power([rising], 0.5, 1 << 13), 50.5, rtol=0.05)
    whole = quantile_of_power([rising[:1000]], 0.5, 1 << 13)
    np.testing.assert_allclose(whole, np.median(rising[:1000] ** 2), rtol=0.05)
