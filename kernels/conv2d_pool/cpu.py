"""conv2d_pool on the CPU: a window's rows are convolved and pooled in one pass, and no activation is ever stored.

The backward pass puts the gradients of a window's rows back in place, in the cache, and goes on densely.
"""

import math

import numpy as np
import torch
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.maps import convolve, few, fill_row, panel_width, panels_of, vector_count
from .._cpu.runs import arrays
from .._cpu.simd import VECTOR_BYTES
from .._cpu.simd_maps import add_outer_products
from .._cpu.threads import PARTIALS, next_unit, spread
from ..shapes import window_count
from ..upsample_conv2d.boxes import gradients_by_boxes
from . import positions_of_none
from .simd import offer_sums

RUN = 8  # taps that `_pooled_backward` sums at once, in each of three rows


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
    low_bits = (1 << shift) - 1
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
                if vectors == 1:  # a literal: the number of vectors is fixed when the block is compiled
                    offer_sums(
                        best, where, slots, number, scratch, at, high - low, row, channels,
                        panels, panel, 3 * channels, bins, 1,
                    )  # fmt: skip
                else:
                    offer_sums(
                        best, where, slots, number, scratch, at, high - low, row, channels,
                        panels, panel, 3 * channels, bins, 2,
                    )  # fmt: skip
            for w in range(across):
                to = (unit * across + w) * filters + k * width
                for lane in range(min(width, filters - k * width)):
                    top = best[w * width + lane] + bias[k * width + lane]
                    place = where[w * width + lane]
                    place = (place >> shift) * q + (place & low_bits) - w * q
                    if relu and top <= 0:
                        top, place = 0, 0
                    values[to + lane] = top
                    positions[to + lane] = place
        unit = next_unit(counters, unit)


def convolve_and_pool(
    x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool
) -> tuple[Tensor, Tensor]:
    """values (B, V, W, D) and positions, int32 of that shape: i q + j at frame i, bin j of the window."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    pool = min(pool[0], frames), pool[1]
    source, taps, offsets = arrays(x, weight, bias)
    down, across = window_count(frames, pool[0]), window_count(bins, pool[1])
    values = torch.empty(batch, down, across, filters, dtype=x.dtype)
    positions = torch.empty(batch, down, across, filters, dtype=torch.int32)
    written = values.numpy().reshape(-1), positions.numpy().reshape(-1)
    cut = filters, vector_count(filters, taps.itemsize), panel_width(filters, taps.itemsize), bins.bit_length()
    given = source.reshape(-1), (frames, bins, channels), panels_of(taps.reshape(-1, filters)), offsets
    work = 18 * x.numel() * filters
    spread(_convolve_and_pool, batch * down, work, *written, *given, pool, (down, across), *cut, relu)
    return values, positions


@kernel
def _pooled_backward(
    counters, grad_z, partials, biases, grad_values, values, positions, x, shape, pool, windows, places, filters,
    relu, vector,
):  # fmt: skip
    """The gradient before pool and rectifier, and of it those of filters and bias."""
    batch, frames, bins, channels = shape
    p, q = pool
    down, across = windows
    plane = bins * filters
    row = (bins + 2) * channels
    columns = (filters + vector - 1) // vector * vector
    run = 3 * channels
    step = 3 if channels == 1 else RUN
    size = (run + step - 1) // step * step * 3 * columns  # of the gradient of the filters: blocks of taps, rows, taps
    dense = np.zeros(p * plane + vector, dtype=x.dtype)
    scratch = np.zeros((p + 2) * row + RUN, dtype=x.dtype)
    parts = len(biases) // filters
    total = batch * down
    unit = next_unit(counters, -1)
    while unit >= 0:
        partials[unit * size : (unit + 1) * size] = 0
        biases[unit * filters : (unit + 1) * filters] = 0
        for index in range(total * unit // parts, total * (unit + 1) // parts):
            item, v = index // down, index % down
            count = min(p, frames - v * p)
            for k in range(count * plane):
                dense[k] = 0
            for w in range(across):
                at, to = (index * across + w) * filters, w * q * filters
                for d in range(filters):
                    g = grad_values[at + d]
                    if relu and values[at + d] <= 0:
                        continue
                    place = places[positions[at + d]] if positions.size else 0
                    dense[to + place + d] = g
                    biases[unit * filters + d] += g
            if grad_z.size:
                to = (item * frames + v * p) * plane
                for k in range(count * plane):
                    grad_z[to + k] = dense[k]
            if partials.size == 0:
                continue
            for n in range(-1, count + 1):
                fill_row(scratch, (n + 1) * row, x, item, v * p + n, frames, bins, channels)
            for n in range(count):
                for tap in range(0, run, step):
                    for column in range(0, filters, vector):
                        at, source = unit * size + tap * 3 * columns + column, n * row + tap
                        g = n * plane + column
                        if step == 3:
                            add_outer_products(
                                partials, at, columns, scratch, source, row, channels, dense, g, filters, bins, 3, 3
                            )
                        else:
                            add_outer_products(
                                partials, at, columns, scratch, source, row, channels, dense, g, filters, bins, 3, RUN
                            )
        unit = next_unit(counters, unit)


def pooled_backward(
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
    """Gradients of x, weight and bias from that of `convolve_and_pool`'s values; without positions pool is (1, 1)."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    p, q = min(pool[0], frames), pool[1]
    grad, source, held, where = arrays(grad_values, x, values, positions)
    kind, lanes = source.dtype, VECTOR_BYTES // source.itemsize
    down, across = window_count(frames, p), window_count(bins, q)
    parts = min(PARTIALS, batch * down)
    step = 3 if channels == 1 else RUN
    blocks, columns = -(-3 * channels // step), -(-filters // lanes) * lanes
    partials = np.empty((parts, blocks, 3, step, columns) if need_w else (0, 0, 0, 0, 0), kind)
    biases = np.empty((parts, filters))  # float64: a sum over every place of the maps
    grad_z = torch.empty((batch, frames, bins, filters) if need_x else (0, 0, 0, 0), dtype=x.dtype)
    i, j = np.divmod(np.arange(p * q), q)
    places = (i * bins + j) * filters
    flat = [part.reshape(-1) for part in (grad_z.numpy(), partials, biases, grad, held, where, source)]
    given = (batch, frames, bins, channels), (p, q), (down, across), places, filters, relu, lanes
    spread(_pooled_backward, parts, 18 * x.numel() * filters, *flat, *given)
    grad_x = grad_w = None
    if need_x:
        turned = weight.detach().flip(0, 1).transpose(2, 3)
        grad_x = convolve(grad_z, turned, weight.new_zeros(channels), (1, 1), -np.inf)
    if need_w:
        total = partials.sum(0).transpose(1, 0, 2, 3).reshape(3, blocks * step, columns)
        nine = total[:, : 3 * channels, :filters].reshape(3, 3, channels, filters)
        grad_w = torch.from_numpy(np.ascontiguousarray(nine))
    return grad_x, grad_w, torch.from_numpy(biases.sum(0).astype(kind)) if need_bias else None


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    if pool == (1, 1):
        return convolve(x, weight, bias, (1, 1), 0.0 if relu else -math.inf), positions_of_none(x)
    return convolve_and_pool(x, weight, bias, pool, relu)


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
    if pool == (1, 1) and few(weight):
        return gradients_by_boxes(grad_values, x, weight, values, pool, relu, need_x, need_w, need_bias)
    return pooled_backward(grad_values, x, weight, values, positions, pool, relu, need_x, need_w, need_bias)
