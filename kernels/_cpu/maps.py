"""Convolutions of maps on the CPU, for the ops that pool or up-sample them.

A map is (B, N, H, C) with contiguous channels, so the taps in one row of a filter meet one run of 3 C numbers. Runs
are multiplied with panels of filters, a filter in each lane, and the sums of a block of positions stay in vector
registers. For an up-sampled map, taps that read the same number are summed in advance (`phases`).

    convolve                x, weight, bias, scale, floor -> map
    panels_of               filters in the layout that `simd_maps` reads
    store                   products of runs and panels, written to a map
    fill_row                a row of a map with a zero pixel on either side
"""

import numpy as np
import torch
from torch import Tensor

from ..phases import phases, summed
from ..shapes import window_count
from .arrays import arrays
from .jit import kernel
from .simd import VECTOR_BYTES
from .simd_maps import store_sums
from .threads import next_unit, spread

BAND = 16  # frames in a unit of `_convolve_few`


def vector_count(filters: int, itemsize: int) -> int:
    """Return the number of vectors in a panel: 1, 2 or 3, so that as few lanes as possible are empty."""
    vectors = -(-filters // (VECTOR_BYTES // itemsize))
    return vectors if vectors <= 3 else 3 if vectors % 3 == 0 else 2


def panels_of(columns: np.ndarray) -> np.ndarray:
    """Return (J, D) as (panels, J, Q), padded with zeros and flat."""
    length, filters = columns.shape
    width = panel_width(filters, columns.itemsize)
    count = -(-filters // width)
    padded = np.zeros((length, count * width), columns.dtype)
    padded[:, :filters] = columns
    return padded.reshape(length, count, width).transpose(1, 0, 2).ravel()


def panel_width(filters: int, itemsize: int) -> int:
    """Return the number of filters in a panel, Q."""
    return vector_count(filters, itemsize) * VECTOR_BYTES // itemsize


def padded(bias: np.ndarray) -> np.ndarray:
    """Return (D,) padded with zeros to the width of the panels."""
    width = panel_width(bias.size, bias.itemsize)
    return np.concatenate([bias, np.zeros(-bias.size % width, bias.dtype)])


@kernel
def store(
    out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, vectors
):
    """Call `store_sums`, which takes the number of vectors as a literal."""
    if vectors == 1:
        store_sums(
            out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, 1
        )
    elif vectors == 2:
        store_sums(
            out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, 2
        )
    else:
        store_sums(
            out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length, n, 3
        )


@kernel
def fill_row(scratch, at, x, item, n, frames, bins, channels):
    """Copy frame n to scratch[at:], with a zero pixel on either side; write zeros if there is no such frame."""
    size = bins * channels
    if n < 0 or n >= frames:
        for k in range(size + 2 * channels):
            scratch[at + k] = 0
        return
    for c in range(channels):
        scratch[at + c] = 0
        scratch[at + channels + size + c] = 0
    source, target = np.uint64((item * frames + n) * size), np.uint64(at + channels)
    for k in range(np.uint64(size)):
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
            fill_row(scratch, r * row, x, item, n + r - 1, frames, bins, channels)
        for a in range(len(row_phases)):
            first, span, copies, place = row_phases[a]
            low, high = max(first, -n), min(first + span, frames - n)
            to = ((item * frames + n) * p + place) * out_row
            for b in range(len(bin_phases)):
                left, reach, repeats, column = bin_phases[b]
                length = reach * channels
                for k in range((filters + width - 1) // width):
                    panel = starts[a, b] + (k * span + low - first) * length * width
                    store(
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
    """Convolve with few filters, without up-sampling: compute a number's nine products once, then gather them."""
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
                store(
                    products, at + width, width, width, 1, 0, nothing, 0, x.dtype.type(-np.inf), x, source, 1, 0,
                    channels, panel, 0, channels, bins, nothing.size * nothing.itemsize // VECTOR_BYTES,
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
    """Return whether a number's nine products with all filters fit in one panel."""
    columns = 9 * weight.shape[3]
    return columns <= panel_width(columns, weight.itemsize)


def _columns_of_nine(weight: np.ndarray) -> np.ndarray:
    """Return (3, 3, C, D) as (C, 9 D)."""
    return weight.transpose(2, 0, 1, 3).reshape(weight.shape[2], -1)


def convolve(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], floor: float) -> Tensor:
    """Return max(z, floor) (B, p N, q H, D), where z is the convolution of x up-sampled by (p, q)."""
    (batch, frames, bins, channels), filters = x.shape, weight.shape[3]
    source, taps, offsets = arrays(x, weight, bias)
    least = taps.dtype.type(floor)
    out = torch.empty(batch, frames * scale[0], bins * scale[1], filters, dtype=x.dtype)
    work, shape = 2 * out.numel() * channels, (frames, bins, channels)
    written, read = out.numpy().reshape(-1), source.reshape(-1)
    if tuple(scale) == (1, 1) and few(taps):
        columns = _columns_of_nine(taps)
        nothing = np.zeros(panel_width(columns.shape[1], taps.itemsize), taps.dtype)
        units = batch * window_count(frames, BAND)
        arguments = panels_of(columns), offsets, filters, nothing, least
        spread(_convolve_few, units, 9 * work, written, read, shape, *arguments)
        return out
    row_phases, bin_phases = phases(scale[0]), phases(scale[1])
    blocks, starts, size = [], np.zeros((len(row_phases), len(bin_phases)), np.int64), 0
    for a, row_phase in enumerate(row_phases):
        for b, bin_phase in enumerate(bin_phases):
            added = summed(summed(weight.detach(), row_phase, scale[0], 0), bin_phase, scale[1], 1)
            blocks.append(panels_of(added.reshape(-1, filters).numpy()))
            starts[a, b], size = size, size + blocks[-1].size
    table = np.array(row_phases), np.array(bin_phases)
    arguments = (
        padded(offsets),
        filters,
        vector_count(filters, taps.itemsize),
        panel_width(filters, taps.itemsize),
        least,
    )
    spread(
        _convolve, batch * frames, 9 * work, written, read, shape, np.concatenate(blocks), starts, *table, *arguments
    )
    return out
