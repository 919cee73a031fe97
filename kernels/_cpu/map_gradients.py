"""Gradients of convolutions of maps on the CPU, for the ops that pool or up-sample them.

pooled_gradients      writes each gradient back to its position in the pool window, then convolves densely
gradients_by_boxes    for up-sampled maps: tap (i, j) multiplies a number with the sum of a p x q box of the gradient,
                      shifted by (1 - i, 1 - j); with the nine boxes of each number side by side, the gradients of x
                      and weight are matrix products
"""

import numpy as np
import torch
from torch import Tensor

from ..shapes import window_count
from .arrays import arrays
from .jit import kernel
from .maps import convolve, fill_row, panel_width, panels_of, store
from .simd import VECTOR_BYTES
from .simd_maps import add_outer_products, box_sums
from .threads import PARTIALS, next_unit, spread

RUN = 8  # taps that `_pooled_gradients` sums at a time, in each of three rows
TILE = 32  # bins in a tile: its boxes take 14 KB with 12 filters


@kernel
def _pooled_gradients(
    counters, grad_z, partials, biases, grad_values, values, positions, x, shape, pool, windows, places, filters,
    relu, vector,
):  # fmt: skip
    """Compute the gradient before pool and rectifier, and from it those of filters and bias."""
    batch, frames, bins, channels = shape
    p, q = pool
    down, across = windows
    plane = bins * filters
    row = (bins + 2) * channels
    columns = (filters + vector - 1) // vector * vector
    run = 3 * channels
    step = 3 if channels == 1 else RUN
    # Of the gradient of the filters, which is (blocks of taps, rows, taps, filters).
    size = (run + step - 1) // step * step * 3 * columns
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


def pooled_gradients(
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
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    p, q = min(pool[0], frames), pool[1]
    grad, source, pooled, where = arrays(grad_values, x, values, positions)
    kind, lanes = source.dtype, VECTOR_BYTES // source.itemsize
    down, across = window_count(frames, p), window_count(bins, q)
    parts = min(PARTIALS, batch * down)
    step = 3 if channels == 1 else RUN
    blocks, columns = -(-3 * channels // step), -(-filters // lanes) * lanes
    partials = np.empty((parts, blocks, 3, step, columns) if need_w else (0, 0, 0, 0, 0), kind)
    biases = np.empty((parts, filters))  # float64: a sum over every position of the maps
    grad_z = torch.empty((batch, frames, bins, filters) if need_x else (0, 0, 0, 0), dtype=x.dtype)
    i, j = np.divmod(np.arange(p * q), q)
    places = (i * bins + j) * filters
    flat = [part.reshape(-1) for part in (grad_z.numpy(), partials, biases, grad, pooled, where, source)]
    settings = (batch, frames, bins, channels), (p, q), (down, across), places, filters, relu, lanes
    spread(_pooled_gradients, parts, 18 * x.numel() * filters, *flat, *settings)
    grad_x = grad_w = None
    if need_x:
        transposed = weight.detach().flip(0, 1).transpose(2, 3)
        grad_x = convolve(grad_z, transposed, weight.new_zeros(channels), (1, 1), -np.inf)
    if need_w:
        total = partials.sum(0).transpose(1, 0, 2, 3).reshape(3, blocks * step, columns)
        nine = total[:, : 3 * channels, :filters].reshape(3, 3, channels, filters)
        grad_w = torch.from_numpy(np.ascontiguousarray(nine))
    return grad_x, grad_w, torch.from_numpy(biases.sum(0).astype(kind)) if need_bias else None


@kernel
def _add_outer_products(target, t, stride, columns, a, i, group_stride, a_step, channels, b, j, b_step, n, vector):
    """Call `add_outer_products` for `channels` numbers, a few at a time, and `columns` others, a vector at a time.

    Row c of the target belongs to number c.
    """
    for column in range(0, columns, vector):
        c = 0
        while c < channels:
            at, source = t + c * stride + column, i + c
            if channels - c >= 12:
                add_outer_products(target, at, stride, a, source, 0, a_step, b, j + column, b_step, n, 1, 12)
                c += 12
            elif channels - c >= 4:
                add_outer_products(target, at, stride, a, source, 0, a_step, b, j + column, b_step, n, 1, 4)
                c += 4
            else:
                add_outer_products(target, at, stride, a, source, 0, a_step, b, j + column, b_step, n, 1, 1)
                c += 1


@kernel
def _backward_by_boxes(
    counters, grad_x, partials, biases, grad, out, x, shape, scale, panels, nothing, filters, width, relu, vector
):
    """Compute the gradients of a convolution of an up-sampled map, as the module describes."""
    batch, frames, bins, channels = shape
    p, q = scale
    high = frames * p
    out_row, line = bins * q * filters, 9 * filters
    columns = (line + vector - 1) // vector * vector
    sums_row = (TILE * q + 2) * filters
    sums = np.empty(3 * sums_row + vector, dtype=x.dtype)
    boxes = np.zeros(TILE * line + vector, dtype=x.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        base = unit * channels * columns
        total = batch * frames
        parts = len(biases) // filters
        partials[base : base + channels * columns] = 0
        biases[unit * filters : (unit + 1) * filters] = 0
        for index in range(total * unit // parts, total * (unit + 1) // parts):
            item, n = index // frames, index % frames
            for h in range(0, bins, TILE):
                count = min(TILE, bins - h)
                # Sums over frames for taps i = 0, 1, 2, from the bin before the tile to the bin after it.
                left, right = max(h * q - 1, 0), min((h + count) * q + 1, bins * q)
                shift = (left - (h * q - 1)) * filters
                size = (right - left) * filters
                for i in range(3):
                    to = i * sums_row
                    for k in range(shift):
                        sums[to + k] = 0
                    for k in range(shift + size, (count * q + 2) * filters):
                        sums[to + k] = 0
                    fresh = True
                    for frame in range(max(n * p + 1 - i, 0), min(n * p + 1 - i + p, high)):
                        source = (item * high + frame) * out_row + left * filters
                        _add_rectified(sums, to + shift, grad, out, source, size, relu, fresh)
                        fresh = False
                    if fresh:
                        for k in range(shift, shift + size):
                            sums[to + k] = 0
                for w in range(count):
                    box_sums(boxes, w * line, sums, (w * q + 1) * filters, sums_row, q, filters)
                for w in range(count):
                    for d in range(filters):
                        biases[unit * filters + d] += boxes[w * line + 4 * filters + d]
                number = (index * bins + h) * channels
                if partials.size:
                    _add_outer_products(
                        partials, base, columns, line, x, number, 0, channels, channels, boxes, 0, line, count, vector
                    )
                if grad_x.size:
                    for k in range((channels + width - 1) // width):
                        store(
                            grad_x, number + k * width, channels, channels - k * width, 1, 0, nothing, 0,
                            x.dtype.type(-np.inf), boxes, 0, 1, 0, line, panels, k * line * width, line, count,
                            width // vector,
                        )  # fmt: skip
        unit = next_unit(counters, unit)


@kernel
def _add_rectified(sums, to, grad, out, source, size, relu, fresh):
    """Add the gradient before the rectifier to sums[to:], or replace sums[to:] if `fresh`."""
    for k in range(size):
        g = grad[source + k]
        if relu:
            g = out.dtype.type(0) if out[source + k] <= 0 else g
        sums[to + k] = g if fresh else sums[to + k] + g


def gradients_by_boxes(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    scale: tuple[int, int],
    relu: bool,
    needed: tuple[bool, bool, bool],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x, weight and bias from that of out = `convolve`(x, weight, bias, scale, 0 or -inf)."""
    need_x, need_w, need_bias = needed
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    grad, source, taps, rectified = arrays(grad_out, x, weight, out)
    kind, lanes = taps.dtype, VECTOR_BYTES // taps.itemsize
    parts = min(PARTIALS, batch * frames)
    columns = -(-9 * filters // lanes) * lanes
    partials = np.empty((parts, channels, columns) if need_w else (0, 0, 0), kind)
    biases = np.empty((parts, filters))  # float64: a sum over every position of the maps
    grad_x = torch.empty(x.shape if need_x else 0, dtype=x.dtype)
    panels = panels_of(taps.transpose(0, 1, 3, 2).reshape(9 * filters, channels))
    width = panel_width(channels, taps.itemsize)
    nothing = np.zeros(-(-channels // width) * width, kind)
    flat = [part.reshape(-1) for part in (grad_x.numpy(), partials, biases, grad, rectified, source)]
    work = 36 * x.numel() * filters
    settings = (batch, frames, bins, channels), scale, panels, nothing, filters, width, relu, lanes
    spread(_backward_by_boxes, parts, work, *flat, *settings)
    grad_w = None
    if need_w:
        nine = partials[:, :, : 9 * filters].sum(0).reshape(channels, 3, 3, filters)
        grad_w = torch.from_numpy(np.ascontiguousarray(nine.transpose(1, 2, 0, 3)))
    return grad_x if need_x else None, grad_w, torch.from_numpy(biases.sum(0).astype(kind)) if need_bias else None
