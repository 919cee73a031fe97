"""The optimisers on the CPU.

PyTorch's own wake OpenMP for square roots even where they are few, and OpenMP's threads then spin for milliseconds on
the cores that the next step's kernels need.

A kernel's `settings` are what `settings_at` gives, as an array of the weight's type, so that no sum is made in a wider
one.
"""

import numpy as np
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.threads import next_unit, spread
from . import EVERY_RULE, settings_at

CHUNK = 4096  # weights in a unit
RULE_NUMBERS = {rule: number for number, rule in enumerate(EVERY_RULE)}


@kernel
def step_slice(rule, weight, gradient, state, settings, begin, end):
    """Step weight[begin : end]; `rule` is the place in EVERY_RULE, `state` (what the rule keeps, weights)."""
    w, g, s, decay = weight[begin:end], gradient[begin:end], state[0][begin:end], settings[7]
    if decay != 0:  # in a pass of its own: inside the rules' loops it would change how their products are rounded
        g = g + decay * w
    if rule == 0:
        _adadelta(w, g, s, state[1][begin:end], settings)
    elif rule == 1:
        _adam(w, g, s, state[1][begin:end], settings)
    elif rule == 2:
        _sgd(w, g, s, settings)
    elif rule == 3:
        _nesterov(w, g, s, settings)
    elif rule == 4:
        _nadam(w, g, s, state[1][begin:end], settings)
    else:
        _sgd(w, g, s, settings)
        _clip(w, settings[8])


@kernel
def _adadelta(weight, gradient, square, delta, settings):
    rate, kept, added, small = settings[0], settings[1], settings[2], settings[6]
    for i in range(weight.size):
        g = gradient[i]
        s = kept * square[i] + added * g * g
        square[i] = s
        change = np.sqrt(delta[i] + small) / np.sqrt(s + small) * g
        delta[i] = kept * delta[i] + added * change * change
        weight[i] -= rate * change


@kernel
def _adam(weight, gradient, mean, square, settings):
    rate, kept1, added1, kept2, added2 = settings[0], settings[1], settings[2], settings[3], settings[4]
    correction, small = settings[5], settings[6]
    for i in range(weight.size):
        g = gradient[i]
        m = kept1 * mean[i] + added1 * g
        s = kept2 * square[i] + added2 * g * g
        mean[i], square[i] = m, s
        weight[i] -= rate * m / (np.sqrt(s * correction) + small)


@kernel
def _sgd(weight, gradient, velocity, settings):
    rate, momentum = settings[0], settings[1]
    for i in range(weight.size):
        v = momentum * velocity[i] + gradient[i]
        velocity[i] = v
        weight[i] -= rate * v


@kernel
def _nesterov(weight, gradient, velocity, settings):
    rate, momentum = settings[0], settings[1]
    for i in range(weight.size):
        g = gradient[i]
        v = momentum * velocity[i] + g
        velocity[i] = v
        weight[i] -= rate * (g + momentum * v)


@kernel
def _nadam(weight, gradient, mean, square, settings):
    of_mean, kept1, added1, kept2, added2 = settings[0], settings[1], settings[2], settings[3], settings[4]
    correction, small, of_gradient = settings[5], settings[6], settings[8]
    for i in range(weight.size):
        g = gradient[i]
        m = kept1 * mean[i] + added1 * g
        s = kept2 * square[i] + added2 * g * g
        mean[i], square[i] = m, s
        weight[i] -= (of_mean * m + of_gradient * g) / (np.sqrt(s * correction) + small)


@kernel
def _clip(weight, bound):
    for i in range(weight.size):
        w = weight[i]
        w = bound if w > bound else w
        weight[i] = -bound if w < -bound else w


@kernel
def _update(counters, rule, weight, gradient, state, settings):
    unit = next_unit(counters, -1)
    while unit >= 0:
        step_slice(rule, weight, gradient, state, settings, unit * CHUNK, min((unit + 1) * CHUNK, weight.size))
        unit = next_unit(counters, unit)


def _step(rule: str, weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    flat, *kept = (t.detach().view(-1).numpy() for t in (weight, *state))
    settings = np.array(settings_at(rule, step, options), dtype=flat.dtype)
    units = -(-weight.numel() // CHUNK)
    gradients = gradient.contiguous().view(-1).numpy()
    both = (kept[0], kept[-1])  # of one type, so that one kernel serves all rules
    spread(_update, units, 20 * weight.numel(), RULE_NUMBERS[rule], flat, gradients, both, settings)


def adadelta(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("adadelta", weight, gradient, state, step, options)


def adam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("adam", weight, gradient, state, step, options)


def sgd(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("sgd", weight, gradient, state, step, options)


def nesterov(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("nesterov", weight, gradient, state, step, options)


def nadam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("nadam", weight, gradient, state, step, options)


def clipped_sgd(
    weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]
) -> None:
    _step("clipped_sgd", weight, gradient, state, step, options)
