"""The mask: its formula, its behaviour at the edges and its settings."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from partae_fast.denoising import Mask
from partae_fast.errors import UserError
from partae_fast.kernels._cpu import threads

MAGNITUDES = st.floats(0, 2.0**126, width=32)


@pytest.mark.parametrize(
    ("exponent", "foreground", "background", "gain"),
    [
        (2.0, 3.0, 1.0, 0.9),
        (1.0, 3.0, 1.0, 0.75),
        (2.0, 1.0, 0.0, 1.0),
        (2.0, 0.0, 1.0, 0.0),
        (2.0, 0.0, 0.0, 0.0),
        (2.0, -5.0, 1.0, 0.0),
        (2.0, 1.0, -5.0, 1.0),
        (2.0, -1.0, -1.0, 0.0),
        (2.0, 1e-30, 1e-30, 0.5),
        (2.0, 1e30, 1e30, 0.5),
        (100.0, 1e-20, 2e-20, 0.0),
    ],
)
def test_gain_of_foreground_and_background(exponent, foreground, background, gain):
    result = Mask(exponent).gain(np.float32([foreground]), np.float32([background]))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [gain], rtol=1e-6, atol=1e-7)


@given(foreground=MAGNITUDES, background=MAGNITUDES, exponent=st.floats(0.1, 10))
def test_the_gains_of_signal_and_noise_sum_to_1(foreground, background, exponent):
    f, b = np.float32([foreground]), np.float32([background])
    signal_gain, noise_gain = Mask(exponent).gain(f, b), Mask(exponent).gain(b, f)
    assert 0 <= signal_gain <= 1
    assert signal_gain + noise_gain == pytest.approx(0.0 if foreground == background == 0 else 1.0, abs=1e-6)


@pytest.mark.parametrize(("foreground", "background"), [(np.nan, 1.0), (1.0, np.nan)])
def test_nan_gives_nan(foreground, background):
    assert np.isnan(Mask().gain(np.float32([foreground]), np.float32([background]))).all()


def test_settings_survive_json():
    assert Mask.from_dict(json.loads(json.dumps(Mask(1.5).to_dict()))) == Mask(1.5)
    assert Mask(2) == Mask()


@pytest.mark.parametrize("exponent", [0, -1.0, float("nan"), float("inf"), "2", None, True])
def test_an_invalid_exponent_is_refused(exponent):
    with pytest.raises(UserError, match="it must be a positive number"):
        Mask(exponent)


@pytest.mark.parametrize("settings", [{}, {"exponent": 2.0, "kind": "soft"}])
def test_settings_of_another_version_are_refused(settings):
    with pytest.raises(UserError, match="written by another version"):
        Mask.from_dict(settings)


def reference_gain(mask, f, b, x, v2):
    """Return the gain, computed element by element in float64."""
    reach, gain = mask.smoothing // 2, np.empty(f.shape)

    def mean(values, n, h):
        rows = np.clip(np.arange(n - reach, n + reach + 1), 0, len(values) - 1)
        columns = np.clip(np.arange(h - reach, h + reach + 1), 0, values.shape[1] - 1)
        return values[np.ix_(rows, columns)].mean()

    for n, h in np.ndindex(f.shape):
        part_f, part_b = (mean(np.maximum(part, 0.0), n, h) ** mask.exponent for part in (f, b))
        total = part_f + mask.background * part_b + mask.noise * v2[h] ** (mask.exponent / 2)
        share = v2[h] / mean(x.astype(float) ** 2, n, h)
        gated = total and part_f / total * max(1 - mask.gate * share, 0)
        gain[n, h] = max(gated, 1 - mask.bypass * share) if mask.bypass else gated
    return gain


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (23, 13), (65, 3)])
@pytest.mark.parametrize(
    "mask",
    [
        Mask(2, 1, 0.5, 2, 3),
        Mask(2, 0, 0.25, 2, 3),
        Mask(1, 0, 0.25, 0, 5),
        Mask(3, 2, 0, 1.5, 1),
        Mask(1, 0, 0.4, 1.5, 3, 3),
        Mask(2, 1, 0.5, 0, 1, 2),
    ],
)
def test_gain_agrees_with_the_reference(mask, shape):
    rng = np.random.default_rng(0)
    f, b, x = (rng.normal(1, 1, shape).astype(np.float32) for _ in range(3))
    v2 = rng.uniform(0.05, 0.5, shape[1]).astype(np.float32)
    expected = reference_gain(mask, f.astype(float), b.astype(float), np.abs(x), v2)
    np.testing.assert_allclose(mask.gain(f, b, np.abs(x), v2), expected, rtol=1e-5, atol=1e-6)
    batch = mask.gain(f[None].repeat(2, 0), b[None].repeat(2, 0), np.abs(x)[None].repeat(2, 0), v2)
    np.testing.assert_allclose(batch[1], expected, rtol=1e-5, atol=1e-6)


def test_gain_has_the_same_bits_for_all_threads_and_strides(monkeypatch):
    monkeypatch.setattr(threads, "WORTH_WAKING", 0)
    rng, mask, before = np.random.default_rng(0), Mask(2, 1, 0.5, 2, 3), torch.get_num_threads()
    f, b, x = rng.uniform(0, 1, (3, 2, 17, 300)).astype(np.float32).swapaxes(2, 3)
    v2 = rng.uniform(0.05, 0.5, 17).astype(np.float32)
    try:
        torch.set_num_threads(1)
        one_thread = mask.gain(f, b, x, v2)
        torch.set_num_threads(3)
        np.testing.assert_array_equal(mask.gain(f.copy(), b.copy(), x.copy(), v2), one_thread)
    finally:
        torch.set_num_threads(before)
    assert 0 < one_thread.mean() < 1


@pytest.mark.parametrize("name", ["background", "noise", "gate", "bypass"])
@pytest.mark.parametrize("value", [-1, float("nan"), "1", None])
def test_an_invalid_weight_is_refused(name, value):
    with pytest.raises(UserError, match=f"{name} is .*it must be a number, 0 or more"):
        Mask(**{name: value})


@pytest.mark.parametrize("smoothing", [0, 2, -3, 1.5, "3", True])
def test_an_invalid_smoothing_is_refused(smoothing):
    with pytest.raises(UserError, match="odd whole number"):
        Mask(smoothing=smoothing)


def test_missing_settings_of_older_files_have_their_defaults():
    assert Mask.from_dict({"exponent": 1.5}) == Mask(1.5)


def test_the_bypass_keeps_sound_much_louder_than_a_known_noise_level():
    loud, zeros = np.full((1, 3), 100, np.float32), np.zeros((1, 3), np.float32)
    mask = Mask(exponent=1.0, background=0.0, noise=0.4, gate=1.5, bypass=3.0)
    np.testing.assert_allclose(mask.gain(zeros, zeros, loud, np.float32([1, 5000, 0])), [[0.9997, 0, 0]], atol=1e-6)
    assert (mask.gain(zeros, zeros) == 0).all()
