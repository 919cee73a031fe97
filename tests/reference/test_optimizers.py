"""The reference optimizers against torch.optim, in float64."""

import numpy as np
import pytest
import torch

from partae_fast.reference.optimizers import OPTIMIZERS

CASES = [
    ("adadelta", torch.optim.Adadelta, {}, {"rho": 0.95, "eps": 1e-6, "lr": 1.0}),
    (
        "adadelta",
        torch.optim.Adadelta,
        {"rho": 0.9, "learning_rate": 0.1},
        {"rho": 0.9, "eps": 1e-6, "lr": 0.1},
    ),
    ("adam", torch.optim.Adam, {}, {"lr": 1e-3}),
    ("sgd", torch.optim.SGD, {"learning_rate": 0.1}, {"lr": 0.1, "momentum": 0.9}),
    ("nesterov", torch.optim.SGD, {"learning_rate": 0.1}, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("adadelta", torch.optim.Adadelta, {"weight_decay": 0.1}, {"rho": 0.95, "lr": 1.0, "weight_decay": 0.1}),
    ("adam", torch.optim.Adam, {"weight_decay": 0.1}, {"weight_decay": 0.1}),
    (
        "sgd",
        torch.optim.SGD,
        {"learning_rate": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1},
    ),
    (
        "nesterov",
        torch.optim.SGD,
        {"learning_rate": 0.1, "weight_decay": 0.1},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    ("adam", torch.optim.Adam, {"beta1": 0.8, "learning_rate": 0.1}, {"betas": (0.8, 0.999), "lr": 0.1}),
]


@pytest.mark.parametrize(("name", "peer", "options", "peer_options"), CASES)
def test_steps_equal_torch(name, peer, options, peer_options):
    random = np.random.default_rng(0)
    parameter = random.normal(size=(3, 4))
    torch_parameter = torch.nn.Parameter(torch.from_numpy(parameter.copy()))
    optimizer = peer([torch_parameter], **peer_options)
    state = None
    for step in range(30):
        gradient = random.normal(size=parameter.shape) * 10.0 ** (step % 5 - 2)
        gradient[0, 0] = 0.0
        parameter, state = OPTIMIZERS[name](parameter, gradient, state, step, **options)
        torch_parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        np.testing.assert_allclose(parameter, torch_parameter.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_nothing_is_changed_in_place(name):
    parameter, gradient = np.ones(3), np.ones(3)
    _, state = OPTIMIZERS[name](parameter, gradient, None, 0)
    before = {key: value.copy() for key, value in state.items()}
    OPTIMIZERS[name](parameter, gradient, state, 1)
    assert parameter.tolist() == gradient.tolist() == [1.0] * 3
    assert all(np.array_equal(before[key], state[key]) for key in state)
