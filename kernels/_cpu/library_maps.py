"""Convolutions of maps with many channels by PyTorch's library (oneDNN), with all else in a pass before or after them.

With few channels most of a convolution is reading and writing the map. With many, the library's products are as fast or
faster, but for a pooled map, which is never stored (`conv2d_pool`). Equal bits hold at a fixed number of threads.

    by_library              whether to convolve so
    convolve_by_library     x, weight, bias -> map
    library_gradients       gradients of x, weight and bias from that of pooled values
"""

import numpy as np
import torch
from torch import Tensor

from ..maps import channels_first, channels_last, convolve, convolve_backward
from ..shapes import window_count
from .arrays import arrays
from .jit import kernel
from .maps import few
from .threads import PARTIALS, next_unit, spread

CHANNELS = 8  # chosen of 2, 4, 6, 8 and 12, with 20 filters and a pool, when the forward pass with a pool was here too


def by_library(x: Tensor, weight: Tensor) -> bool:
    """Return whether the library convolves x with these filters faster: float32, and many channels and filters."""
    return x.dtype == torch.float32 and weight.shape[2] >= CHANNELS and not few(weight)


def convolve_by_library(x: Tensor, weight: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Return the zero-padded convolution (B, N, H, D) of x (B, N, H, C), rectified with `relu`."""
    z = channels_last(convolve(channels_first(x.detach()), weight.detach(), bias.detach()))
    return z.relu_() if relu else z


@kernel
def _unpool(counters, grad_z, biases, grad_values, values, positions, shape, pool, windows, places, filters, relu):
    """Write the gradient before pool and rectifier (B * N * H * D,), and its sums over parts of it, (parts * D,)."""
    batch, frames, bins = shape
    p, q = pool
    down, across = windows
    parts, total = len(biases) // filters, batch * down
    sums = np.empty(filters, dtype=np.float64)
    unit = next_unit(counters, -1)
    while unit >= 0:
        sums[:] = 0
        for index in range(total * unit // parts, total * (unit + 1) // parts):
            item, v = index // down, index % down
            first = np.uint64((item * frames + v * p) * bins * filters)
            if positions.size:
                for k in range(np.uint64(min(p, frames - v * p) * bins * filters)):
                    grad_z[first + k] = 0
            for w in range(across):
                at, to = np.uint64((index * across + w) * filters), first + np.uint64(w * q * filters)
                if positions.size:
                    for d in range(np.uint64(filters)):
                        g = grad_z.dtype.type(0) if relu and values[at + d] <= 0 else grad_values[at + d]
                        grad_z[to + places[positions[at + d]] + d] = g
                        sums[d] += g
                else:
                    for d in range(np.uint64(filters)):
                        silent = relu & (values[at + d] <= 0)
                        g = grad_z.dtype.type(0) if silent else grad_values[at + d]
                        grad_z[to + d] = g
                        sums[d] += g
        for d in range(filters):
            biases[unit * filters + d] = sums[d]
        unit = next_unit(counters, unit)


def library_gradients(
    grad_values: Tensor,
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: tuple[int, int],
    relu: bool,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, weight and bias from that of pooled values; empty positions mean pool (1, 1)."""
    need_x, need_w, need_bias = needed
    (batch, frames, bins, _), filters = x.shape, weight.shape[3]
    p, q = min(pool[0], frames), pool[1]
    windows = window_count(frames, p), window_count(bins, q)
    grad_z = torch.empty(batch, frames, bins, filters, dtype=x.dtype)
    biases = np.empty((min(PARTIALS, batch * windows[0]), filters))  # float64: a sum over every position of the maps
    flat = [part.reshape(-1) for part in (grad_z.numpy(), biases, *arrays(grad_values, values, positions))]
    i, j = np.divmod(np.arange(p * q, dtype=np.uint64), np.uint64(q))
    places = (i * np.uint64(bins) + j) * np.uint64(filters)
    settings = (batch, frames, bins), (p, q), windows, places, filters, relu
    spread(_unpool, len(biases), 4 * grad_z.numel(), *flat, *settings)
    grad_x = grad_w = None
    if need_x or need_w:
        first, second = channels_first(grad_z), channels_first(x.detach())
        grad_x, grad_w, _ = convolve_backward(first, second, weight.detach(), need_x, need_w, need_bias=False)
    return (
        None if grad_x is None else channels_last(grad_x),
        grad_w,
        torch.from_numpy(biases.sum(0).astype(np.float32)) if need_bias else None,
    )
