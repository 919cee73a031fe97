"""Metrics: values worked out by hand, the invariances that the definitions promise, and the odd cases."""

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
    """A signal and noise at right angles to it, both of length 1."""
    s, n = np.random.default_rng(seed).standard_normal((2, length))
    n -= (n @ s) / (s @ s) * s
    return s / np.linalg.norm(s), n / np.linalg.norm(n)


@given(level=st.floats(-60, 60), scale=LEVELS)
def test_both_measure_the_level_of_noise_at_right_angles(level, scale):
    s, n = pair()
    estimate = s + 10 ** (-level / 20) * n
    assert snr(s, estimate) == pytest.approx(level, abs=1e-6)
    assert snr(scale * s, scale * estimate) == pytest.approx(level, abs=1e-6)
    assert si_sdr(s, estimate) == pytest.approx(level, abs=1e-6)
    assert si_sdr(s, -scale * estimate) == pytest.approx(level, abs=1e-6)


def test_another_level_is_noise_to_one_and_not_to_the_other():
    s, _ = pair()
    assert snr(s, 0.5 * s) == pytest.approx(20 * math.log10(2))
    assert snr(s, np.zeros_like(s)) == pytest.approx(0.0)
    assert si_sdr(s, 0.5 * s) > 200


def test_the_ends_of_the_scale():
    s, _ = pair()
    assert snr(s, s) == math.inf
    assert si_sdr(s, s) > 200
    assert si_sdr([1.0, 0.0], [2.0, 0.0]) == math.inf
    assert si_sdr([1.0, 0.0], [0.0, 2.0]) == -math.inf
    assert si_sdr(s, np.zeros_like(s)) == -math.inf


def test_single_precision_is_taken_in_double():
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
def test_what_has_no_ratio_is_refused(metric, reference, estimate, message):
    with pytest.raises(UserError, match=message):
        metric(reference, estimate)


def test_a_band_keeps_what_is_in_it_where_it_was():
    time = np.arange(8000) / 8000
    inside, outside = np.sin(2 * np.pi * 1000 * time), np.sin(2 * np.pi * 3000 * time)
    np.testing.assert_allclose(band(inside + outside, 8000, 900, 1100), inside, atol=1e-9)
    np.testing.assert_allclose(band(inside + outside, 8000, 1000, 3000), inside + outside, atol=1e-9)


@given(length=st.integers(1, 300), edges=st.tuples(st.floats(0, 4000), st.floats(0, 4000)))
def test_a_band_taken_twice_is_the_band_and_the_rest_is_at_right_angles(length, edges):
    signal = np.random.default_rng(0).standard_normal(length)
    low, high = sorted(edges)
    once = band(signal, 8000, low, high)
    assert once.shape == signal.shape
    np.testing.assert_allclose(band(once, 8000, low, high), once, atol=1e-12)
    assert once @ (signal - once) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-1, 100), (200, 100), (math.nan, 100)])
def test_a_band_that_is_none_is_refused(low, high):
    with pytest.raises(UserError, match="give 0 <= low <= high"):
        band(np.ones(10), 8000, low, high)


@pytest.fixture
def clicks():
    """Song, noise and a rest: a click each, so far apart that no filter of 512 taps makes one of another."""
    pytest.importorskip("fast_bss_eval")
    return np.eye(4096)[[100, 1500, 3000]]


@pytest.mark.parametrize("taps", [1, 512])
def test_bss_of_parts_at_right_angles_is_what_their_levels_say(clicks, taps):
    s, n, rest = clicks
    found = bss(s, n, s + 0.1 * n + 0.01 * rest, taps)
    wanted = (1 / (0.1**2 + 0.01**2), 1 / 0.1**2, (1 + 0.1**2) / 0.01**2)
    assert found == pytest.approx([10 * math.log10(ratio) for ratio in wanted], abs=0.05)
    assert bss(5 * s, 3 * n, -2 * (s + 0.1 * n + 0.01 * rest), taps) == pytest.approx(found, abs=1e-4)


def test_bss_forgives_what_a_filter_of_its_length_does(clicks):
    s, n, _ = clicks
    filtered = s + 0.5 * np.roll(s, 300) + 0.1 * n
    assert bss(s, n, filtered).sdr == pytest.approx(10 * math.log10(1.25 / 0.01), abs=0.01)
    assert bss(s, n, filtered, taps=100).sdr == pytest.approx(10 * math.log10(1 / 0.26), abs=0.01)


def test_bss_is_a_number_at_every_end(clicks):
    s, n, rest = clicks
    for estimate in (s, n, rest, s + n, s + rest, np.zeros_like(s)):
        for taps in (1, 64):
            assert all(-100 <= ratio <= 100 for ratio in bss(s, n, estimate, taps))
    assert bss(s, n, s) == pytest.approx((60, 100, 60), abs=0.1)
    assert bss(s, n, np.zeros_like(s)) == (-100, -100, -100)
    assert bss(s, n, n)[:2] == pytest.approx((-100, -100), abs=1e-3)


def test_bss_in_a_band_is_a_number_where_nothing_is_outside():
    pytest.importorskip("fast_bss_eval")
    s, n, rest = (band(x, 8000, 1000, 2000) for x in np.random.default_rng(0).standard_normal((3, 20_000)))
    sdr, sir, sar = bss(s, n, s + 0.1 * n + 0.1 * rest)
    assert sir == pytest.approx(20, abs=1) and sar == pytest.approx(20, abs=1) and sdr == pytest.approx(17, abs=1)


def test_bss_refuses_what_has_no_ratio_and_says_what_to_install(monkeypatch):
    with pytest.raises(UserError, match="the interference is silent"):
        bss(np.ones(4), np.zeros(4), np.ones(4))
    with pytest.raises(UserError, match=r"interference is \(5,\) and estimate \(4,\)"):
        bss(np.ones(4), np.ones(5), np.ones(4))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"need fast_bss_eval; `pip install partae-fast\[evaluate\]`"):
        bss(np.ones(4), np.ones(4), np.ones(4))


def test_peak_normalised_mse_forgives_a_level_and_nothing_else():
    s = np.random.default_rng(0).standard_normal(1000)
    e = s + 0.1
    wanted = np.mean((s / np.abs(s).max() - e / np.abs(e).max()) ** 2)
    assert peak_normalised_mse(s, 3 * e) == pytest.approx(wanted)
    assert peak_normalised_mse(s, 0.2 * s) == pytest.approx(0, abs=1e-30)
    assert peak_normalised_mse(s, 0 * s) == pytest.approx(np.mean((s / np.abs(s).max()) ** 2))
    with pytest.raises(UserError, match="the reference is silent"):
        peak_normalised_mse(0 * s, s)


def test_snr_gain_is_the_difference_of_two_ratios():
    s, n = np.random.default_rng(0).standard_normal((2, 1000))
    assert snr_gain(s, s + n, s + 0.1 * n) == pytest.approx(20.0)
    assert snr_gain(s, s + n, s + n) == 0.0


def test_bss_among_several_sources_gives_each_filters_of_its_own(clicks):
    s, n, rest = clicks
    other = np.roll(rest, 3)
    mixed = s + 0.1 * n + 0.2 * other
    alone, both = bss(s, n, mixed, 8), bss_of_each(s, np.stack([n, other]), [mixed, s], 8)
    assert both[0].sdr == pytest.approx(alone.sdr, abs=0.01)
    assert alone.sar < 20 < 50 < both[0].sar and both[0].sir == pytest.approx(both[0].sdr, abs=0.01)
    assert both[1].sdr > 50
    with pytest.raises(UserError, match="the interference is silent"):
        bss_of_each(s, np.stack([n, 0 * n]), [mixed])
