"""partitioned_loss on the CPU: error, penalty and both gradients in one pass, summed in float64."""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.jit import kernel
from .._cpu.threads import next_unit, spread

TILE = 128  # frames in a unit


@kernel
def _loss(counters, sums, grad, grad_values, reconstruction, target, values, weights):
    batch, frames, bins = reconstruction.shape
    tiles = sums.shape[1] - 1
    factor = reconstruction.dtype.type(2.0 / batch)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, tile = unit // (tiles + 1), unit % (tiles + 1)
        total = 0.0
        if tile < tiles:
            for n in range(tile * TILE, min((tile + 1) * TILE, frames)):
                for h in range(bins):
                    error = reconstruction[item, n, h] - target[item, n, h]
                    grad[item, n, h] = factor * error
                    total += np.float64(error) * np.float64(error)
        else:  # after an item's tiles comes a unit for its penalty
            for p in range(values.shape[1]):
                for k in range(values.shape[2]):
                    v, weight = np.float64(values[item, p, k]), weights[item, k]
                    grad_values[item, p, k] = 2.0 * weight * v / batch
                    total += weight * v * v
        sums[item, tile] = total
        unit = next_unit(counters, unit)


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, _ = reconstruction.shape
    labels, mask = (array.astype(np.float64) for array in arrays(noise_only, foreground))
    share = mask.sum() / mask.size
    weights = labels[:, None] * (mask * mask * (penalty / share if share > 0 else 0.0))
    grad_reconstruction = torch.empty(reconstruction.shape, dtype=reconstruction.dtype)
    grad_values = torch.empty(values.shape, dtype=values.dtype)
    sums = np.empty((batch, -(-frames // TILE) + 1))
    outputs, inputs = (grad_reconstruction.numpy(), grad_values.numpy()), arrays(reconstruction, target, values)
    spread(_loss, sums.size, 4 * grad_reconstruction.numel(), sums, *outputs, *inputs, weights)
    return torch.tensor(sums.sum() / batch, dtype=reconstruction.dtype), grad_reconstruction, grad_values
