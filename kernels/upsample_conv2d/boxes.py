"""The gradients of a convolution of an up-sampled map on the CPU, by boxes.

What a number of the map meets under tap (i, j) is the sum of a p x q box of the gradient, shifted by (1 - i, 1 - j):
with the nine boxes of a number side by side both gradients are plain matrix products.
"""

import numpy as np
import torch
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.maps import panel_width, panels_of, store
from .._cpu.runs import arrays
from .._cpu.simd import VECTOR_BYTES
from .._cpu.simd_maps import add_outer_products
from .._cpu.threads import PARTIALS, next_unit, spread
from .simd import box_sums

TILE = 32  # bins in a tile: with 12 filters its boxes take 14 KB


@kernel
def _add_products(target, t, stride, columns, a, i, group_stride, a_step, channels, b, j, b_step, n, vector):
    """`add_outer_products` of `channels` numbers, a few at a time, with `columns` others, a vector of them at a time.

    Row c of the target is of number c.
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
    """The gradients of a convolution of an up-sampled map: see above."""
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
                # Sums over frames, for i = 0, 1, 2, from the bin before the tile to the one after it.
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
                    _add_products(
                        partials, base, columns, line, x, number, 0, channels, channels, boxes, 0, line, count, vector
                    )
                if grad_x.size:
                    for k in range((channels + width - 1) // width):
                        store(
                            grad_x, number + k * width, channels, channels - k * width, 1, 0, nothing, 0,
                            x.dtype.type(-np.inf), boxes, 0, 1, 0, line, panels, k * line * width, line, count,
                            1 if width == vector else 2,
                        )  # fmt: skip
        unit = next_unit(counters, unit)


@kernel
def _add_rectified(sums, to, grad, out, source, size, relu, fresh):
    """sums[to:] becomes, or where not `fresh` grows by, the gradient before the rectifier."""
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
    need_x: bool,
    need_w: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x, weight and bias from that of out = `convolve`(x, weight, bias, scale, 0 or -inf)."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    grad, source, taps, rectified = arrays(grad_out, x, weight, out)
    kind, lanes = taps.dtype, VECTOR_BYTES // taps.itemsize
    parts = min(PARTIALS, batch * frames)
    columns = -(-9 * filters // lanes) * lanes
    partials = np.empty((parts, channels, columns) if need_w else (0, 0, 0), kind)
    biases = np.empty((parts, filters))  # float64: a sum over every place of the maps
    grad_x = torch.empty(x.shape if need_x else 0, dtype=x.dtype)
    panels = panels_of(taps.transpose(0, 1, 3, 2).reshape(9 * filters, channels))
    width = panel_width(channels, taps.itemsize)
    nothing = np.zeros(-(-channels // width) * width, kind)
    flat = [part.reshape(-1) for part in (grad_x.numpy(), partials, biases, grad, rectified, source)]
    work = 36 * x.numel() * filters
    given = (batch, frames, bins, channels), scale, panels, nothing, filters, width, relu, lanes
    spread(_backward_by_boxes, parts, work, *flat, *given)
    grad_w = None
    if need_w:
        nine = partials[:, :, : 9 * filters].sum(0).reshape(channels, 3, 3, filters)
        grad_w = torch.from_numpy(np.ascontiguousarray(nine.transpose(1, 2, 0, 3)))
    return grad_x if need_x else None, grad_w, torch.from_numpy(biases.sum(0).astype(kind)) if need_bias else None
