"""The mask: its formula, its edges, its settings."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from partae_fast.denoising import Mask
from partae_fast.errors import UserError

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
def test_values(exponent, foreground, background, gain):
    found = Mask(exponent).gain(np.float32([foreground]), np.float32([background]))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [gain], rtol=1e-6, atol=1e-7)


@given(foreground=MAGNITUDES, background=MAGNITUDES, exponent=st.floats(0.1, 10))
def test_gain_of_signal_and_of_noise_add_up(foreground, background, exponent):
    f, b = np.float32([foreground]), np.float32([background])
    gain, rest = Mask(exponent).gain(f, b), Mask(exponent).gain(b, f)
    assert 0 <= gain <= 1
    assert gain + rest == pytest.approx(0.0 if foreground == background == 0 else 1.0, abs=1e-6)


@pytest.mark.parametrize(("foreground", "background"), [(np.nan, 1.0), (1.0, np.nan)])
def test_nan_is_not_hidden(foreground, background):
    assert np.isnan(Mask().gain(np.float32([foreground]), np.float32([background]))).all()


def test_settings_survive_json():
    assert Mask.from_dict(json.loads(json.dumps(Mask(1.5).to_dict()))) == Mask(1.5)
    assert Mask(2) == Mask()


@pytest.mark.parametrize("exponent", [0, -1.0, float("nan"), float("inf"), "2", None, True])
def test_another_exponent_is_refused(exponent):
    with pytest.raises(UserError, match="it must be a positive number"):
        Mask(exponent)


@pytest.mark.parametrize("settings", [{}, {"exponent": 2.0, "kind": "soft"}])
def test_settings_of_another_version_are_refused(settings):
    with pytest.raises(UserError, match="of another version"):
        Mask.from_dict(settings)
