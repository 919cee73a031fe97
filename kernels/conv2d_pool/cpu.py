"""conv2d_pool on the CPU: the rows of a window are convolved and pooled in one pass; no activation is stored.

The backward pass writes the gradients of a window back to their positions, in cache, and convolves densely. With many
channels PyTorch's library convolves there, and in the forward pass without a pool (`_cpu/library_maps.py`).
"""

import math

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.jit import kernel
from .._cpu.library_maps import by_library, convolve_by_library, library_gradients
from .._cpu.map_gradients import gradients_by_boxes, pooled_gradients
from .._cpu.maps import convolve, few, fill_row, panel_width, panels_of, vector_count
from .._cpu.threads import next_unit, spread
from ..shapes import no_positions, window_count
from .simd import offer_sums


@kernel
def _convolve_and_pool(
    counters, values, positions, x, shape, panels, bias, pool, windows, filters, vectors, width, shift, relu
):
    frames, bins, channels = shape
    p, q = pool
    down, across = windows
    row = (bins + 2) * channels
    scratch = np.empty((min(p, frames) + 2) * row, dtype=x.dtype)
    best = np.empty(across * width, dtype=x.dtype)
    where = np.empty(across * width, dtype=np.int32)
    slots = np.empty(bins, dtype=np.int64)
    for h in range(bins):
        slots[h] = h // q
    low_bits, zero = (1 << shift) - 1, x.dtype.type(0)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, v = unit // down, unit % down
        begin, end = v * p, min((v + 1) * p, frames)
        for n in range(begin - 1, end + 1):
            fill_row(scratch, (n - begin + 1) * row, x, item, n, frames, bins, channels)
        for k in range((filters + width - 1) // width):
            for w in range(across):
                for lane in range(width):
                    best[w * width + lane] = -np.inf
                    where[w * width + lane] = w * q
            for n in range(begin, end):
                low, high = max(-1, -n), min(2, frames - n)
                panel = (k * 3 + low + 1) * 3 * channels * width
                number, at = (n - begin) << shift, (n - begin + 1 + low) * row
                if vectors == 1:  # the primitive takes the number of vectors as a literal
                    offer_sums(
                        best, where, slots, number, scratch, at, high - low, row, channels,
                        panels, panel, 3 * channels, bins, 1,
                    )  # fmt: skip
                elif vectors == 2:
                    offer_sums(
                        best, where, slots, number, scratch, at, high - low, row, channels,
                        panels, panel, 3 * channels, bins, 2,
                    )  # fmt: skip
                else:
                    offer_sums(
                        best, where, slots, number, scratch, at, high - low, row, channels,
                        panels, panel, 3 * channels, bins, 3,
                    )  # fmt: skip
            for w in range(across):
                # Unsigned: an index that may be negative prevents vectorization.
                to, at, offset = ((unit * across + w) * filters + k * width), w * width, k * width
                to, at, offset = np.uint64(to), np.uint64(at), np.uint64(offset)
                for lane in range(np.uint64(min(width, filters - k * width))):
                    top, place = best[at + lane] + bias[offset + lane], where[at + lane]
                    silent = relu & (top <= 0)  # `and` would be a branch
                    values[to + lane] = zero if silent else top
                    positions[to + lane] = 0 if silent else (place >> shift) * q + (place & low_bits) - w * q
        unit = next_unit(counters, unit)


def convolve_and_pool(
    x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool
) -> tuple[Tensor, Tensor]:
    """Return values (B, V, W, D) and positions, int32 of that shape: i q + j for frame i, bin j of the window."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    pool = min(pool[0], frames), pool[1]
    source, taps, offsets = arrays(x, weight, bias)
    down, across = window_count(frames, pool[0]), window_count(bins, pool[1])
    values = torch.empty(batch, down, across, filters, dtype=x.dtype)
    positions = torch.empty(batch, down, across, filters, dtype=torch.int32)
    outputs = values.numpy().reshape(-1), positions.numpy().reshape(-1)
    cut = filters, vector_count(filters, taps.itemsize), panel_width(filters, taps.itemsize), bins.bit_length()
    inputs = source.reshape(-1), (frames, bins, channels), panels_of(taps.reshape(-1, filters)), offsets
    work = 18 * x.numel() * filters
    spread(_convolve_and_pool, batch * down, work, *outputs, *inputs, pool, (down, across), *cut, relu)
    return values, positions


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    if pool != (1, 1):
        return convolve_and_pool(x, weight, bias, pool, relu)
    if by_library(x, weight):
        return convolve_by_library(x, weight, bias, relu), no_positions(x)
    return convolve(x, weight, bias, (1, 1), 0.0 if relu else -math.inf), no_positions(x)


def conv2d_pool_backward(
    grad_values: Tensor,
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: tuple[int, int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    needed = need_x, need_w, need_bias
    if by_library(x, weight):
        return library_gradients(grad_values, x, weight, values, positions, pool, relu, needed)
    if pool == (1, 1) and few(weight):
        return gradients_by_boxes(grad_values, x, weight, values, pool, relu, needed)
    return pooled_gradients(grad_values, x, weight, values, positions, pool, relu, needed)
