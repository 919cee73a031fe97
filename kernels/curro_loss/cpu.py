"""curro_loss on the CPU: error and both gradients in one pass, summed in float64."""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.jit import kernel
from .._cpu.threads import next_unit, spread

TILE = 16  # items in a unit


@kernel
def _loss(counters, sums, grad_signal, grad_noise, signal, noise, target, share):
    batch, bins = signal.shape
    factor = signal.dtype.type(2.0 / batch)
    unit = next_unit(counters, -1)
    while unit >= 0:
        total = 0.0
        for item in range(unit * TILE, min((unit + 1) * TILE, batch)):
            s, n, t, part = signal[item], noise[item], target[item], share[item]
            to_signal, to_noise = grad_signal[item], grad_noise[item]
            for h in range(bins):
                error = part * s[h] + n[h] - t[h]
                to_noise[h] = factor * error
                to_signal[h] = part * (factor * error)
                total += np.float64(error) * np.float64(error)
        sums[unit] = total
        unit = next_unit(counters, unit)


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty(signal.shape, dtype=signal.dtype), torch.empty(signal.shape, dtype=signal.dtype)
    sums = np.empty(-(-len(signal) // TILE))
    arguments = arrays(*grads, signal, noise, target, 1 - noise_only)
    spread(_loss, sums.size, 6 * signal.numel(), sums, *arguments)
    return torch.tensor(sums.sum() / len(signal), dtype=signal.dtype), *grads
