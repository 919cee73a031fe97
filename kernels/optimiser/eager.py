"""The optimisers in plain PyTorch, on any device."""

from torch import Tensor

from .._eager.common import upcast
from . import settings_at


def adadelta(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    square, delta = state
    rho, epsilon = options["rho"], options["epsilon"]
    w, g, s, d = upcast(weight, gradient, square, delta)
    g = g + options["weight_decay"] * w
    s = rho * s + (1 - rho) * g**2
    change = (d + epsilon).sqrt() / (s + epsilon).sqrt() * g
    square.copy_(s)
    delta.copy_(rho * d + (1 - rho) * change**2)
    weight.copy_(w - options["learning_rate"] * change)


def adam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    mean, square = state
    beta1, beta2 = options["beta1"], options["beta2"]
    w, g, m, s = upcast(weight, gradient, mean, square)
    g = g + options["weight_decay"] * w
    m = beta1 * m + (1 - beta1) * g
    s = beta2 * s + (1 - beta2) * g**2
    mean.copy_(m)
    square.copy_(s)
    scale = (s / (1 - beta2 ** (step + 1))).sqrt() + options["epsilon"]
    weight.copy_(w - options["learning_rate"] / (1 - beta1 ** (step + 1)) * m / scale)


def nadam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    mean, square = state
    of_mean, kept1, added1, kept2, added2, correction, epsilon, decay, of_gradient = settings_at("nadam", step, options)
    w, g, m, s = upcast(weight, gradient, mean, square)
    g = g + decay * w
    m = kept1 * m + added1 * g
    s = kept2 * s + added2 * g**2
    mean.copy_(m)
    square.copy_(s)
    weight.copy_(w - (of_mean * m + of_gradient * g) / ((s * correction).sqrt() + epsilon))


def sgd(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    (velocity,) = state
    w, g, v = upcast(weight, gradient, velocity)
    v = options["momentum"] * v + (g + options["weight_decay"] * w)
    velocity.copy_(v)
    weight.copy_(w - options["learning_rate"] * v)


def nesterov(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    (velocity,) = state
    momentum = options["momentum"]
    w, g, v = upcast(weight, gradient, velocity)
    g = g + options["weight_decay"] * w
    v = momentum * v + g
    velocity.copy_(v)
    weight.copy_(w - options["learning_rate"] * (g + momentum * v))


def clipped_sgd(
    weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]
) -> None:
    sgd(weight, gradient, state, step, options)
    weight.clamp_(-options["clip"], options["clip"])
