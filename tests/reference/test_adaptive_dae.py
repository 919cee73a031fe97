"""The losses of the adaptive denoising autoencoder: gradients against finite differences, and its step."""

from itertools import pairwise

import numpy as np
import pytest

from partae_fast.reference.adaptive_dae import adaptation_step, forward, purity_error, training_loss

STEP = 1e-6


def network(random, *sizes):
    """Return layers with units below and above the knee of the activation."""
    return [(random.normal(0, 0.6, pair), random.normal(0, 0.3, pair[1])) for pair in pairwise(sizes)]


@pytest.fixture
def problem():
    random = np.random.default_rng(5)
    return {
        "bottom": network(random, 4, 5, 3, 4),
        "top": network(random, 4, 5, 3, 4),
        "mixture": random.random((4, 4)),
        "clean": random.random((4, 4)),
    }


def differences(loss, networks, which):
    """Return the derivatives of the loss with respect to all weights and biases of one network, by layer."""
    gradients = []
    for layer, pair in enumerate(networks[which]):
        for part, values in enumerate(pair):
            gradient = np.zeros_like(values)
            for index in np.ndindex(values.shape):
                ends = []
                for change in (STEP, -STEP):
                    moved = {name: [[p.copy() for p in pair] for pair in net] for name, net in networks.items()}
                    moved[which][layer][part][index] += change
                    ends.append(loss(**moved))
                gradient[index] = (ends[0] - ends[1]) / (2 * STEP)
            gradients.append(gradient)
    return gradients


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_training_gradients_are_the_differences(problem, dropout):
    networks = {name: problem[name] for name in ("bottom", "top")}

    def loss(bottom, top):
        return training_loss(bottom, top, problem["mixture"], problem["clean"], dropout, seed=3, step=2)[0]

    _, *gradients = training_loss(**problem, dropout=dropout, seed=3, step=2)
    for which, gradient in zip(networks, gradients, strict=True):
        for computed, expected in zip(sum(gradient, ()), differences(loss, networks, which), strict=True):
            np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("held", [False, True])
def test_purity_gradient_is_the_difference(problem, held):
    networks = {"bottom": problem["bottom"]}
    u = forward(problem["top"], forward(problem["bottom"], problem["mixture"])[-1])[-1]

    def loss(bottom):
        y = forward(bottom, problem["mixture"])[-1]
        return np.sum((y - (u if held else forward(problem["top"], y)[-1])) ** 2)

    error, power, gradient = purity_error(problem["bottom"], problem["top"], problem["mixture"], held)
    assert error == pytest.approx(loss(problem["bottom"]))
    assert power == pytest.approx(np.sum(forward(problem["bottom"], problem["mixture"])[-1] ** 2))
    for computed, expected in zip(sum(gradient, ()), differences(loss, networks, "bottom"), strict=True):
        np.testing.assert_allclose(computed, expected, rtol=1e-5, atol=1e-6)


def test_steps_make_the_output_purer_and_hold_weights_in_their_range(problem):
    bottom, top, mixture = (problem[name] for name in ("bottom", "top", "mixture"))
    velocity, errors = None, []
    for _ in range(30):
        before = bottom
        error, bottom, velocity = adaptation_step(bottom, top, mixture, velocity, learning_rate=1e-3, clip=0.5)
        assert max(np.abs(p).max() for pair in bottom for p in pair) <= 0.5
        assert error == purity_error(before, top, mixture)[0] / purity_error(before, top, mixture)[1]
        errors.append(purity_error(bottom, top, mixture)[0])
    assert errors[-1] < 0.5 * errors[0]
