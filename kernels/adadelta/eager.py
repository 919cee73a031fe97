"""adadelta in plain PyTorch, on any device."""

from torch import Tensor

from ..encode.eager import wide


def adadelta(
    weight: Tensor,
    gradient: Tensor,
    square: Tensor,
    delta: Tensor,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> None:
    w, g, s, d = wide(weight, gradient, square, delta)
    s = rho * s + (1 - rho) * g**2
    step = (d + epsilon).sqrt() / (s + epsilon).sqrt() * g
    square.copy_(s)
    delta.copy_(rho * d + (1 - rho) * step**2)
    weight.copy_(w - learning_rate * step)
