"""Tests of the metrics: values computed by hand, invariances and edge cases."""

import importlib.util
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partae_fast.errors import UserError
from partae_fast.metrics import band, bss, bss_of_each, peak_normalised_mse, si_sdr, snr, snr_gain

LEVELS = st.floats(0.01, 100)


def pair(seed=0, length=400):
    """Return a signal and noise orthogonal to it, both of norm 1."""
    s, n = np.random.default_rng(seed).standard_normal((2, length))
    n -= (n @ s) / (s @ s) * s
    return s / np.linalg.norm(s), n / np.linalg.norm(n)


@given(level=st.floats(-60, 60), scale=LEVELS)
def test_snr_and_si_sdr_measure_the_level_of_orthogonal_noise(level, scale):
    s, n = pair()
    estimate = s + 10 ** (-level / 20) * n
    assert snr(s, estimate) == pytest.approx(level, abs=1e-6)
    assert snr(scale * s, scale * estimate) == pytest.approx(level, abs=1e-6)
    assert si_sdr(s, estimate) == pytest.approx(level, abs=1e-6)
    assert si_sdr(s, -scale * estimate) == pytest.approx(level, abs=1e-6)


def test_level_difference_is_noise_for_snr_and_not_for_si_sdr():
    s, _ = pair()
    assert snr(s, 0.5 * s) == pytest.approx(20 * math.log10(2))
    assert snr(s, np.zeros_like(s)) == pytest.approx(0.0)
    assert si_sdr(s, 0.5 * s) > 200


def test_infinite_ratios():
    s, _ = pair()
    assert snr(s, s) == math.inf
    assert si_sdr(s, s) > 200
    assert si_sdr([1.0, 0.0], [2.0, 0.0]) == math.inf
    assert si_sdr([1.0, 0.0], [0.0, 2.0]) == -math.inf
    assert si_sdr(s, np.zeros_like(s)) == -math.inf


def test_float32_input_is_computed_in_float64():
    s, n = pair(length=100_000)
    s, estimate = s.astype(np.float32), (s + 1e-3 * n).astype(np.float32)
    assert si_sdr(s, estimate) == pytest.approx(si_sdr(s.astype(float), estimate.astype(float)), abs=1e-12)


@pytest.mark.parametrize("metric", [snr, si_sdr])
@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        (np.zeros(4), np.ones(4), "reference is silent"),
        (np.zeros(0), np.zeros(0), "reference is silent"),
        (np.ones(4), np.ones(5), r"reference is \(4,\) and estimate \(5,\)"),
        (np.ones((4, 1)), np.ones((4, 1)), r"must be \(samples,\)"),
        (np.ones(4), np.array([1, np.nan, 1, 1]), "NaN or Inf"),
        (np.array([1, np.inf, 1, 1]), np.ones(4), "NaN or Inf"),
    ],
)
def test_undefined_ratio_is_refused(metric, reference, estimate, message):
    with pytest.raises(UserError, match=message):
        metric(reference, estimate)


def test_band_keeps_phase_and_level_inside_it():
    time = np.arange(8000) / 8000
    inside, outside = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 3000 * time)
    np.testing.assert_allclose(band(inside + outside, 8000, 900, 1100), inside, atol=1e-9)
    np.testing.assert_allclose(band(inside + outside, 8000, 1000, 3000), inside + outside, atol=1e-9)


@given(length=st.integers(1, 300), edges=st.tuples(st.floats(0, 4000), st.floats(0, 4000)))
def test_band_is_idempotent_and_orthogonal_to_the_rest(length, edges):
    signal = np.random.default_rng(0).standard_normal(length)
    low, high = sorted(edges)
    once = band(signal, 8000, low, high)
    assert once.shape == signal.shape
    np.testing.assert_allclose(band(once, 8000, low, high), once, atol=1e-12)
    assert once @ (signal - once) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-1, 100), (200, 100), (math.nan, 100)])
def test_invalid_band_is_refused(low, high):
    with pytest.raises(UserError, match="give 0 <= low <= high"):
        band(np.ones(10), 8000, low, high)


@pytest.fixture
def clicks():
    """Return a click for song, noise and artefact each.

    They are too far apart for a filter of 512 taps to turn one into another.
    """
    pytest.importorskip("fast_bss_eval")
    return np.eye(4096)[[100, 1500, 3000]]


@pytest.mark.parametrize("taps", [1, 512])
def test_bss_of_orthogonal_parts_follows_from_their_levels(clicks, taps):
    s, n, rest = clicks
    ratios = bss(s, n, s + 0.1 * n + 0.01 * rest, taps)
    expected = (1 / (0.1**2 + 0.01**2), 1 / 0.1**2, (1 + 0.1**2) / 0.01**2)
    assert ratios == pytest.approx([10 * math.log10(ratio) for ratio in expected], abs=0.05)
    assert bss(5 * s, 3 * n, -2 * (s + 0.1 * n + 0.01 * rest), taps) == pytest.approx(ratios, abs=1e-4)


def test_bss_allows_filters_up_to_its_length(clicks):
    s, n, _ = clicks
    filtered = s + 0.5 * np.roll(s, 300) + 0.1 * n
    assert bss(s, n, filtered).sdr == pytest.approx(10 * math.log10(1.25 / 0.01), abs=0.01)
    assert bss(s, n, filtered, taps=100).sdr == pytest.approx(10 * math.log10(1 / 0.26), abs=0.01)


def test_bss_is_finite_in_extreme_cases(clicks):
    s, n, rest = clicks
    for estimate in (s, n, rest, s + n, s + rest, np.zeros_like(s)):
        for taps in (1, 64):
            assert all(-100 <= ratio <= 100 for ratio in bss(s, n, estimate, taps))
    assert bss(s, n, s) == pytest.approx((60, 100, 60), abs=0.1)
    assert bss(s, n, np.zeros_like(s)) == (-100, -100, -100)
    assert bss(s, n, n)[:2] == pytest.approx((-100, -100), abs=1e-3)


def test_bss_of_band_limited_sources():
    pytest.importorskip("fast_bss_eval")
    s, n, rest = (band(x, 8000, 1000, 2000) for x in np.random.default_rng(0).standard_normal((3, 20_000)))
    sdr, sir, sar = bss(s, n, s + 0.1 * n + 0.1 * rest)
    assert sir == pytest.approx(20, abs=1) and sar == pytest.approx(20, abs=1) and sdr == pytest.approx(17, abs=1)


def test_bss_refuses_undefined_ratios_and_names_the_missing_package(monkeypatch):
    with pytest.raises(UserError, match="the interference is silent"):
        bss(np.ones(4), np.zeros(4), np.ones(4))
    with pytest.raises(UserError, match=r"interference is \(5,\) and estimate \(4,\)"):
        bss(np.ones(4), np.ones(5), np.ones(4))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need fast_bss_eval; `pip install partae-fast\[evaluate\]`"):
        bss(np.ones(4), np.ones(4), np.ones(4))


def test_peak_normalised_mse_ignores_the_level():
    s = np.random.default_rng(0).standard_normal(1000)
    e = s + 0.1
    expected = np.mean((s / np.abs(s).max() - e / np.abs(e).max()) ** 2)
    assert peak_normalised_mse(s, 3 * e) == pytest.approx(expected)
    assert peak_normalised_mse(s, 0.2 * s) == pytest.approx(0, abs=1e-30)
    assert peak_normalised_mse(s, 0 * s) == pytest.approx(np.mean((s / np.abs(s).max()) ** 2))
    with pytest.raises(UserError, match="the reference is silent"):
        peak_normalised_mse(0 * s, s)


def test_snr_gain_is_the_difference_of_two_snrs():
    s, n = np.random.default_rng(0).standard_normal((2, 1000))
    assert snr_gain(s, s + n, s + 0.1 * n) == pytest.approx(20.0)
    assert snr_gain(s, s + n, s + n) == 0.0


def test_bss_with_several_sources_fits_separate_filters(clicks):
    s, n, rest = clicks
    other = np.roll(rest, 3)
    mixed = s + 0.1 * n + 0.2 * other
    one_source, (of_mixture, of_signal) = bss(s, n, mixed, 8), bss_of_each(s, np.stack([n, other]), [mixed, s], 8)
    assert of_mixture.sdr == pytest.approx(one_source.sdr, abs=0.01)
    assert one_source.sar < 20 < 50 < of_mixture.sar and of_mixture.sir == pytest.approx(of_mixture.sdr, abs=0.01)
    assert of_signal.sdr > 50
    with pytest.raises(UserError, match="the interference is silent"):
        bss_of_each(s, np.stack([n, 0 * n]), [mixed])
