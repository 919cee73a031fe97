"""adadelta on the CPU.

PyTorch's own wakes OpenMP for its square roots even where they are few, and OpenMP's threads then spin for milliseconds
on the cores that the next step's kernels need.
"""

import numpy as np
from torch import Tensor

from ..jit import kernel
from ..threads import next_unit, spread

CHUNK = 4096  # weights in a unit


@kernel
def _adadelta(counters, weight, gradient, square, delta, learning_rate, rho, epsilon):
    kept, added = weight.dtype.type(rho), weight.dtype.type(1 - rho)
    rate, small = weight.dtype.type(learning_rate), weight.dtype.type(epsilon)
    unit = next_unit(counters, -1)
    while unit >= 0:
        for i in range(unit * CHUNK, min((unit + 1) * CHUNK, weight.size)):
            g = gradient[i]
            square[i] = kept * square[i] + added * g * g
            step = np.sqrt(delta[i] + small) / np.sqrt(square[i] + small) * g
            delta[i] = kept * delta[i] + added * step * step
            weight[i] -= rate * step
        unit = next_unit(counters, unit)


def adadelta(
    weight: Tensor,
    gradient: Tensor,
    square: Tensor,
    delta: Tensor,
    learning_rate: float,
    rho: float,
    epsilon: float,
) -> None:
    flat = [t.detach().view(-1).numpy() for t in (weight, gradient.contiguous(), square, delta)]
    units = -(-weight.numel() // CHUNK)
    spread(_adadelta, units, 20 * weight.numel(), *flat, learning_rate, rho, epsilon)
