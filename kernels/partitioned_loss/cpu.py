"""partitioned_loss on the CPU: error, penalty and both gradients in one pass, summed in float64 but for short runs."""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.jit import kernel
from .._cpu.threads import next_unit, spread

TILE = 128  # frames in a unit
# Squared errors that are added in float32 before the sum goes on in float64. In vectors of 4 lanes or more, a lane adds
# at most 64 of them, all of one sign, and rounds each time by at most 2^-24 of its sum: 4e-6 in all.
RUN = 256


@kernel
def _loss(counters, sums, grad, grad_values, reconstruction, target, values, weights, shape):
    """Write the gradients, and the sums of the parts of the loss; all tensors but `weights` and `sums` are flat."""
    batch, frames, bins, windows = shape
    latents, tiles = weights.shape[1], sums.shape[1] - 1
    factor = reconstruction.dtype.type(2.0 / batch)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, tile = unit // (tiles + 1), unit % (tiles + 1)
        total = 0.0
        if tile < tiles:
            first = item * frames * bins
            begin, end = first + tile * TILE * bins, first + min((tile + 1) * TILE, frames) * bins
            for start in range(begin, end, RUN):
                part = reconstruction.dtype.type(0)
                for i in range(np.uint64(start), np.uint64(min(start + RUN, end))):
                    error = reconstruction[i] - target[i]
                    grad[i] = factor * error
                    part += error * error
                total += part
        else:  # after an item's tiles comes a unit for its penalty
            for p in range(windows):
                at = np.uint64((item * windows + p) * latents)
                for k in range(np.uint64(latents)):
                    v, weight = np.float64(values[at + k]), weights[item, k]
                    grad_values[at + k] = 2.0 * weight * v / batch
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
    batch, frames, bins = reconstruction.shape
    labels, mask = (array.astype(np.float64) for array in arrays(noise_only, foreground))
    share = mask.sum() / mask.size
    weights = labels[:, None] * (mask * mask * (penalty / share if share > 0 else 0.0))
    grad_reconstruction = torch.empty(reconstruction.shape, dtype=reconstruction.dtype)
    grad_values = torch.empty(values.shape, dtype=values.dtype)
    sums = np.empty((batch, -(-frames // TILE) + 1))
    tensors = arrays(grad_reconstruction, grad_values, reconstruction, target, values)
    flat, shape = [array.reshape(-1) for array in tensors], (batch, frames, bins, values.shape[1])
    spread(_loss, sums.size, 4 * grad_reconstruction.numel(), sums, *flat, weights, shape)
    return torch.tensor(sums.sum() / batch, dtype=reconstruction.dtype), grad_reconstruction, grad_values
