"""The reference's whole step: it reduces the loss along its gradients, and composes the parts."""

import numpy as np
import pytest

from partae_fast.reference import train_steps as training
from partae_fast.reference.initialisation import orthogonal
from partae_fast.reference.partitioned_loss import model_loss
from partae_fast.reference.sampler import batch_at, statistics, target_at


@pytest.fixture
def problem():
    random = np.random.default_rng(0)
    signal, noise = [[random.gamma(1.0, 1.0, (90, 5))]], [[random.gamma(1.0, 0.3, (80, 5))]]
    w_enc, w_dec = orthogonal(3, 5, 6, seed=1)
    return {"w_enc": w_enc, "w_dec": w_dec}, signal, noise


FOREGROUND = np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0])


def test_a_small_step_reduces_the_loss_by_its_gradient(problem):
    weights, signal, noise = problem
    mean, std = statistics(signal, 32)
    x, y = batch_at(signal, noise, 32, 4, 0.5, seed=0, step=0)
    setting = training.Setting(FOREGROUND, pool=4, options={"learning_rate": 1e-4})
    learner, loss = training.train_step(training.Learner(weights), x, y, mean, std, setting)
    after, gradients = model_loss(
        x, mean, std, **learner.weights, noise_only=y, foreground=FOREGROUND, penalty=0.75, pool=4
    )
    expected = sum(np.sum(gradients[n] * (learner.weights[n] - weights[n])) for n in weights)
    assert after < loss
    assert after - loss == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("optimizer", ["adadelta", "adam", "sgd", "nesterov"])
def test_training_reduces_the_loss_and_does_not_change_its_input(problem, optimizer):
    weights, signal, noise = problem
    before = {name: weight.copy() for name, weight in weights.items()}
    setting = training.Setting(FOREGROUND, pool=4, optimizer=optimizer)
    learner, losses = training.train_steps(training.beginner(weights), signal, noise, setting, 150, frames=32, batch=4)
    assert np.mean(losses[-20:]) < 0.9 * np.mean(losses[:20])
    assert all(np.array_equal(weights[name], before[name]) for name in weights)
    assert set(learner.state) == set(weights)


@pytest.mark.parametrize("corruption", [[], [[np.random.default_rng(1).random((70, 5))]]], ids=["plain", "corrupted"])
def test_a_run_is_its_steps(problem, corruption):
    weights, signal, noise = problem
    setting = training.Setting(FOREGROUND, pool=4)
    start, settings = training.beginner(weights), {"frames": 32, "batch": 4, "noise_only": 0.5, "seed": 9}
    together, losses = training.train_steps(start, signal, noise, setting, 4, **settings, corruption=corruption)
    learner = training.Learner(weights)
    mean, std = statistics(signal, 32, corruption)
    for step in range(4):
        x, y = batch_at(signal, noise, 32, 4, 0.5, 9, step, corruption)
        target = target_at(signal, noise, 32, 4, 0.5, 9, step)
        learner, loss = training.train_step(learner, x, y, mean, std, setting, target=target)
        assert loss == losses[step]
    assert all(np.array_equal(together.weights[name], learner.weights[name]) for name in weights)
