"""partitioned_loss on the CPU: error, penalty and both gradients in one pass, summed in float64."""

import numpy as np
import torch
from torch import Tensor

from ..jit import kernel
from ..runs import arrays
from ..threads import spread

TILE = 128  # frames in a unit


@kernel
def _squared_error(first, last, sums, grad, reconstruction, target):
    frames = reconstruction.shape[1]
    tiles = sums.shape[1]
    factor = reconstruction.dtype.type(2.0 / reconstruction.shape[0])
    for unit in range(first, last):
        item, tile = unit // tiles, unit % tiles
        total = 0.0
        for n in range(tile * TILE, min((tile + 1) * TILE, frames)):
            r, t, g = reconstruction[item, n], target[item, n], grad[item, n]
            for h in range(r.size):
                error = r[h] - t[h]
                g[h] = factor * error
                total += np.float64(error) * np.float64(error)
        sums[item, tile] = total


@kernel
def _penalty(first, last, sums, grad, values, weights):
    batch, windows, latents = values.shape
    for item in range(first, last):
        total = 0.0
        for p in range(windows):
            for k in range(latents):
                v, weight = values[item, p, k], weights[item, k]
                grad[item, p, k] = 2.0 * weight * v / batch
                total += weight * np.float64(v) * np.float64(v)
        sums[item] = total


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, _ = reconstruction.shape
    mask = foreground.double()
    share = float(mask.mean())
    weights = torch.outer(noise_only.double(), mask**2) * (penalty / share if share > 0 else 0.0)
    grad_reconstruction = torch.empty(reconstruction.shape, dtype=reconstruction.dtype)
    grad_values = torch.empty(values.shape, dtype=values.dtype)
    errors = torch.empty(batch, -(-frames // TILE), dtype=torch.float64)
    penalties = torch.empty(batch, dtype=torch.float64)
    spread(_squared_error, errors.numel(), *arrays(errors, grad_reconstruction, reconstruction, target))
    spread(_penalty, batch, *arrays(penalties, grad_values, values, weights))
    loss = (errors.sum() + penalties.sum()) / batch
    return loss.to(reconstruction.dtype), grad_reconstruction, grad_values
