"""ratio_mask_loss on the CPU: softmax, product, squared error and gradient in one pass over tiles of points."""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.elementary import exp_below
from .._cpu.jit import kernel
from .._cpu.threads import next_unit, spread
from .._cpu.tiles import CHUNK, POINTS, read_transposed, write_transposed


@kernel
def _ratio_mask(counters, grad, losses, logits, mixture, parts, sources):
    scale = grad.dtype.type(2.0 / grad.size)
    masks, slopes = np.empty((sources, POINTS), grad.dtype), np.empty((sources, POINTS), grad.dtype)
    scratch = np.empty((3, POINTS), grad.dtype)
    top, total, along = scratch[0], scratch[1], scratch[2]
    unit = next_unit(counters, -1)
    while unit >= 0:
        loss = 0.0
        for first in range(unit * CHUNK, min((unit + 1) * CHUNK, mixture.size), POINTS):
            count = min(POINTS, mixture.size - first)
            read_transposed(masks, logits, first, count, sources)
            read_transposed(slopes, parts, first, count, sources)
            _softmax(masks, top, total, count)
            along[:] = 0
            for s in range(sources):
                loss += _slopes(slopes, s, masks, mixture, first, count, scale)
                for p in range(count):
                    along[p] += masks[s, p] * slopes[s, p]
            for s in range(sources):
                for p in range(count):
                    slopes[s, p] = masks[s, p] * (slopes[s, p] - along[p])
            write_transposed(grad, slopes, first, count, sources)
        losses[unit] = loss
        unit = next_unit(counters, unit)


@kernel
def _softmax(masks, top, total, count):
    """Replace logits by masks, their softmax."""
    for p in range(count):
        top[p] = masks[0, p]
        total[p] = 0
    for s in range(1, len(masks)):
        for p in range(count):
            top[p] = masks[s, p] if masks[s, p] > top[p] else top[p]
    for s in range(len(masks)):
        for p in range(count):
            masks[s, p] = exp_below(masks[s, p] - top[p])
            total[p] += masks[s, p]
    for s in range(len(masks)):
        for p in range(count):
            masks[s, p] /= total[p]


@kernel
def _slopes(slopes, s, masks, mixture, first, count, scale):
    """Replace magnitudes of source s by the gradient with respect to its mask; return the squared error."""
    squares = scale * 0
    for p in range(count):
        error = masks[s, p] * mixture[first + p] - slopes[s, p]
        squares += error * error
        slopes[s, p] = scale * error * mixture[first + p]
    return squares


def ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    grad = torch.empty(logits.shape, dtype=logits.dtype)
    inputs = [array.reshape(-1) for array in arrays(logits, mixture, sources)]
    losses = np.empty(-(-mixture.numel() // CHUNK))
    out = grad.numpy().reshape(-1)
    spread(_ratio_mask, len(losses), 20 * grad.numel(), out, losses, *inputs, logits.shape[-1])
    return torch.tensor(losses.sum() / grad.numel(), dtype=grad.dtype), grad
