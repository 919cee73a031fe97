"""Convolutions of maps on the CPU, for the ops that pool or up-sample them.

A map is (B, N, H, C), channels contiguous: the taps of one row under a filter are one run of 3 C numbers. Runs are
multiplied with panels of filters, a filter to a lane; a block of positions is summed in vector registers.

Up-sampled, taps that read one number are summed beforehand: see `phases`. Backward, what a number meets under tap
(i, j) is the sum of a p x q box of the gradient, shifted by (1 - i, 1 - j): with the nine boxes of a number side by
side both gradients are plain matrix products.

    convolve                x, weight, bias, scale, floor -> map
    convolve_and_pool       x, weight, bias, pool, relu -> values, positions
    convolve_backward       the gradients of convolve
    pooled_backward         the gradients of convolve_and_pool; of convolve too, at scale (1, 1)
"""

import numpy as np
import torch
from torch import Tensor

from ..phases import phases, summed
from ..shapes import window_count
from .jit import kernel
from .runs import arrays
from .simd import VECTOR_BYTES
from .simd_maps import add_outer_products, box_sums, offer_sums, store_sums
from .threads import next_unit, spread

BAND = 16  # frames in a unit of `_convolve_few`
TILE = 32  # bins in a tile of `_boxes`: with 12 filters its boxes take 14 KB
RUN = 8  # taps that `_pooled_backward` sums at once, in each of three rows
PARTIALS = 16  # partial sums of a gradient of filters, as in `runs`


def _vectors(filters: int, itemsize: int) -> int:
    """Vectors in a panel."""
    return 1 if filters <= VECTOR_BYTES // itemsize else 2


def _panels(columns: np.ndarray) -> np.ndarray:
    """(J, D) -> (panels, J, Q), padded with zeros, flat."""
    length, filters = columns.shape
    width = _width(filters, columns.itemsize)
    count = -(-filters // width)
    padded = np.zeros((length, count * width), columns.dtype)
    padded[:, :filters] = columns
    return padded.reshape(length, count, width).transpose(1, 0, 2).ravel()


def _width(filters: int, itemsize: int) -> int:
    return _vectors(filters, itemsize) * VECTOR_BYTES // itemsize


def _padded(bias: np.ndarray) -> np.ndarray:
    """(D,) -> as long as the panels."""
    width = _width(bias.size, bias.itemsize)
    return np.concatenate([bias, np.zeros(-bias.size % width, bias.dtype)])


@kernel
def _store(
    out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, vectors
):
    """`store_sums`, for a number of vectors that is known when it runs."""
    if vectors == 1:
        store_sums(
            out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, 1
        )
    else:
        store_sums(
            out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, 2
        )


@kernel
def _fill_row(scratch, at, x, item, n, frames, bins, channels):
    """Frame n at scratch[at:], with a zero pixel on either side; zeros where there is no such frame."""
    size = bins * channels
    if n < 0 or n >= frames:
        for k in range(size + 2 * channels):
            scratch[at + k] = 0
        return
    for c in range(channels):
        scratch[at + c] = 0
        scratch[at + channels + size + c] = 0
    source, target = (item * frames + n) * size, at + channels
    for k in range(size):
        scratch[target + k] = x[source + k]


@kernel
def _convolve(counters, out, x, shape, panels, starts, row_phases, bin_phases, bias, filters, vectors, width, floor):
    frames, bins, channels = shape
    p, q = 0, 0
    for a in range(len(row_phases)):
        p += row_phases[a, 2]
    for b in range(len(bin_phases)):
        q += bin_phases[b, 2]
    row = (bins + 2) * channels
    out_row = bins * q * filters
    scratch = np.empty(3 * row, dtype=x.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, n = unit // frames, unit % frames
        for r in range(3):
            _fill_row(scratch, r * row, x, item, n + r - 1, frames, bins, channels)
        for a in range(len(row_phases)):
            first, span, copies, place = row_phases[a]
            low, high = max(first, -n), min(first + span, frames - n)
            to = ((item * frames + n) * p + place) * out_row
            for b in range(len(bin_phases)):
                left, reach, repeats, column = bin_phases[b]
                length = reach * channels
                for k in range((filters + width - 1) // width):
                    panel = starts[a, b] + (k * span + low - first) * length * width
                    _store(
                        out, to + column * filters + k * width, q * filters, filters - k * width, repeats, filters,
                        bias, k * width, floor, scratch, (low + 1) * row + (left + 1) * channels, high - low, row,
                        channels, panels, panel, length, bins, vectors,
                    )  # fmt: skip
            for c in range(1, copies):
                for j in range(out_row):
                    out[to + c * out_row + j] = out[to + j]
        unit = next_unit(counters, unit)


@kernel
def _convolve_few(counters, out, x, shape, panel, bias, filters, nothing, floor):
    """Few filters, without up-sampling: a number's nine products with them are made once, then gathered."""
    frames, bins, channels = shape
    bands = (frames + BAND - 1) // BAND
    width = 9 * filters
    row = (bins + 2) * width
    products = np.empty(3 * row, dtype=x.dtype)  # frame n in row n % 3, a pixel of zeros on either side
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, begin = unit // bands, (unit % bands) * BAND
        end = min(begin + BAND, frames)
        products[:] = 0
        for n in range(begin - 1, end + 1):
            at = (n + 3) % 3 * row
            if n >= 0 and n < frames:
                source = (item * frames + n) * bins * channels
                _store(
                    products, at + width, width, width, 1, 0, nothing, 0, x.dtype.type(-np.inf), x, source, 1, 0,
                    channels, panel, 0, channels, bins, 1 if nothing.size * nothing.itemsize <= VECTOR_BYTES else 2,
                )  # fmt: skip
            else:
                products[at : at + row] = 0
            if n <= begin:
                continue
            first, second, third = (n - 2 + 3) % 3 * row, (n - 1) % 3 * row, at
            to = (item * frames + n - 1) * bins * filters
            for h in range(bins):
                for d in range(filters):
                    j = h * width + d
                    z = bias[d]
                    for tap in range(3):
                        column = j + tap * (width + filters)
                        z += products[first + column]
                        z += products[second + column + 3 * filters]
                        z += products[third + column + 6 * filters]
                    out[to + h * filters + d] = floor if z < floor else z
        unit = next_unit(counters, unit)


def few(weight: Tensor | np.ndarray) -> bool:
    """Whether a number's nine products with the filters lie side by side in one panel."""
    columns = 9 * weight.shape[3]
    return columns <= _width(columns, weight.itemsize)


def _columns_of_nine(weight: np.ndarray) -> np.ndarray:
    """(3, 3, C, D) -> (C, 9 D)."""
    return weight.transpose(2, 0, 1, 3).reshape(weight.shape[2], -1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], floor: float) -> Tensor:
    """max(z, floor) (B, p N, q H, D), with z the convolution of x up-sampled by (p, q)."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    source, taps, offsets = arrays(x, weight, bias)
    least = taps.dtype.type(floor)
    out = torch.empty(batch, frames * scale[0], bins * scale[1], filters, dtype=x.dtype)
    work, shape = 2 * out.numel() * channels, (frames, bins, channels)
    written, read = out.numpy().reshape(-1), source.reshape(-1)
    if tuple(scale) == (1, 1) and few(taps):
        columns = _columns_of_nine(taps)
        nothing = np.zeros(_width(columns.shape[1], taps.itemsize), taps.dtype)
        units = batch * window_count(frames, BAND)
        given = _panels(columns), offsets, filters, nothing, least
        spread(_convolve_few, units, 9 * work, written, read, shape, *given)
        return out
    row_phases, bin_phases = phases(scale[0]), phases(scale[1])
    blocks, starts, size = [], np.zeros((len(row_phases), len(bin_phases)), np.int64), 0
    for a, row_phase in enumerate(row_phases):
        for b, bin_phase in enumerate(bin_phases):
            added = summed(summed(weight.detach(), row_phase, scale[0], 0), bin_phase, scale[1], 1)
            blocks.append(_panels(added.reshape(-1, filters).numpy()))
            starts[a, b], size = size, size + blocks[-1].size
    table = np.array(row_phases), np.array(bin_phases)
    given = _padded(offsets), filters, _vectors(filters, taps.itemsize), _width(filters, taps.itemsize), least
    spread(_convolve, batch * frames, 9 * work, written, read, shape, np.concatenate(blocks), starts, *table, *given)
    return out


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
            _fill_row(scratch, (n - begin + 1) * row, x, item, n, frames, bins, channels)
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
    cut = filters, _vectors(filters, taps.itemsize), _width(filters, taps.itemsize), bins.bit_length()
    given = source.reshape(-1), (frames, bins, channels), _panels(taps.reshape(-1, filters)), offsets
    work = 18 * x.numel() * filters
    spread(_convolve_and_pool, batch * down, work, *written, *given, pool, (down, across), *cut, relu)
    return values, positions


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
    """The gradients of a convolution of an up-sampled map: see the top of this file."""
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
                        _store(
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


def convolve_backward(
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
    panels = _panels(taps.transpose(0, 1, 3, 2).reshape(9 * filters, channels))
    width = _width(channels, taps.itemsize)
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
                _fill_row(scratch, (n + 1) * row, x, item, v * p + n, frames, bins, channels)
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
