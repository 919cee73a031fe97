"""The elementary functions of the CPU kernels have the errors that their documentation states."""

import numba
import numpy as np
import pytest

from partae_fast.kernels._cpu.elementary import exp_below, log1p_of, log_of, tanh
from partae_fast.kernels._cpu.jit import FASTMATH


def looped(function):
    """A compiled loop that writes function(x) to y."""

    @numba.njit(fastmath=FASTMATH, error_model="numpy")
    def call(y, x):
        for i in range(x.size):
            y[i] = function(x[i])

    return call


TANH, EXP, LOG1P, LOG = map(looped, (tanh, exp_below, log1p_of, log_of))
SMALLEST, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max
AROUND_1 = np.linspace(0.5, 2, 20_001)
CASES = {  # kernel, exact function, arguments, relative and absolute error
    "tanh": (TANH, np.tanh, np.concatenate([np.linspace(-12, 12, 20_000), np.geomspace(1e-30, 1, 20_000)]), 4e-7, 0),
    "exp_below": (EXP, np.exp, np.linspace(-10, 0, 20_001), 1e-6, 0),
    "exp_below, small": (EXP, np.exp, np.linspace(-87, -10, 20_001), 1e-5, 0),
    "log1p_of": (LOG1P, np.log1p, np.append(np.geomspace(1e-30, 1, 20_000), 0), 3e-7, 0),
    "log_of": (LOG, np.log, np.append(np.geomspace(SMALLEST, LARGEST, 50_000), AROUND_1), 1.2e-7, 3e-7),
}


def values(call, x):
    y = np.full_like(x, np.nan)
    call(y, x)
    return y


@pytest.mark.parametrize("case", CASES)
def test_the_error_is_below_the_stated_one(case):
    call, exact, x, relative, absolute = CASES[case]
    x = x.astype(np.float32)
    expected = exact(x.astype(np.float64))
    assert (np.abs(values(call, x) - expected) <= relative * np.abs(expected) + absolute).all()


@pytest.mark.parametrize("case", ["tanh", "exp_below", "log1p_of", "log_of"])
def test_float64_has_the_standard_functions(case):
    call, exact, x, _, _ = CASES[case]
    np.testing.assert_allclose(values(call, x.astype(np.float64)), exact(x), rtol=1e-14)


@pytest.mark.parametrize("case", ["tanh", "exp_below", "log1p_of", "log_of"])
def test_not_a_number_stays_one(case):
    assert np.isnan(values(CASES[case][0], np.full(20, np.nan, np.float32))).all()
