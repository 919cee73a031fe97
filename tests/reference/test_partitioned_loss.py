"""The loss of the whole model: gradients against finite differences, for all rectifiers and targets."""

import numpy as np
import pytest

from partae_fast.reference.decode import decode
from partae_fast.reference.encode import encode
from partae_fast.reference.partitioned_loss import model_loss

STEP = 1e-6


@pytest.fixture
def problem():
    random = np.random.default_rng(3)
    return {
        "x": random.random((2, 17, 4)),
        "mean": random.random(4),
        "std": 0.5 + random.random(4),
        "w_enc": random.standard_normal((3, 4, 5)),
        "w_dec": random.standard_normal((3, 5, 4)),
        "noise_only": np.array([1.0, 0.0]),
        "foreground": np.array([0.0, 1.0, 1.0, 1.0, 1.0]),
        "penalty": 0.75,
        "pool": 4,
    }


def difference(arguments, name, index):
    """Return the derivative of the loss with respect to one number, by a central difference."""
    up, down = arguments[name].copy(), arguments[name].copy()
    up[index] += STEP
    down[index] -= STEP
    return (model_loss(**arguments | {name: up})[0] - model_loss(**arguments | {name: down})[0]) / (2 * STEP)


@pytest.mark.parametrize("target", [False, True], ids=["of itself", "of a target"])
@pytest.mark.parametrize("rectified_output", [False, True], ids=["as decoded", "rectified"])
@pytest.mark.parametrize("negative_slope", [0.0, 1 / 3])
def test_gradients_are_the_differences(problem, negative_slope, rectified_output, target):
    if target:
        problem["target"] = np.random.default_rng(4).random(problem["x"].shape)
    problem |= {"negative_slope": negative_slope, "rectified_output": rectified_output}
    _, gradients = model_loss(**problem)
    for name in ("x", "w_enc", "w_dec"):
        expected = [difference(problem, name, index) for index in np.ndindex(gradients[name].shape)]
        np.testing.assert_allclose(gradients[name].ravel(), expected, rtol=1e-5, atol=1e-6)


def test_a_negative_reconstruction_counts_as_zero(problem):
    values, positions = encode(*(problem[name] for name in ("x", "w_enc", "pool", "mean", "std")))
    r = np.maximum(decode(values, positions, problem["w_dec"], 17), 0)
    assert (r == 0).any() and (r > 0).any()
    loss, _ = model_loss(**problem | {"penalty": 0.0}, rectified_output=True)
    assert loss == pytest.approx(np.sum((problem["x"] - r) ** 2) / 2)


def test_a_negative_slope_keeps_gradients_that_a_rectifier_stops(problem):
    """Without a positive activation the encoder gets a gradient only with a negative slope."""
    problem["w_enc"] = -np.abs(problem["w_enc"])
    problem |= {"mean": None, "std": None}
    _, without = model_loss(**problem)
    _, leaky = model_loss(**problem, negative_slope=0.1)
    assert not without["w_enc"].any() and not without["w_dec"].any()
    assert leaky["w_enc"].any() and leaky["w_dec"].any()
