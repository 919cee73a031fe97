"""Sums over runs of frames on the CPU, for the sparse passes of encode and decode.

Bins are contiguous, so the M frames under a filter are one contiguous run of M*H numbers. A latent whose maximum is at
frame t has the run of the M frames from t - before on. Frames outside the recording are skipped.

    scatter_runs      out[run(t)] += amplitude * row[k]        decode; encode's gradient of x
    accumulate_runs   row[k] += amplitude * source[run(t)]     the gradients of both weights, and optionally the dots

`rows` is (K, M*H): each filter in the order of the frames.
"""

import numpy as np
import torch
from torch import Tensor

from ..shapes import checked_pools
from .arrays import arrays
from .jit import kernel
from .simd import add_runs, axpy, dot
from .threads import PARTIALS, next_unit, spread

TILE = 6144  # numbers of the output in a unit of scatter_runs: with a row they fit in the first-level cache
GROUP = 8  # windows that accumulate_runs visits for each latent in turn: 16 KB of frames at P 16, H 32


@kernel
def _scatter(counters, out, misplaced, amplitudes, positions, rows, before, scale, smallest, largest):
    frames, bins = out.shape[1], out.shape[2]
    windows, latents = amplitudes.shape[1], amplitudes.shape[2]
    length = rows.shape[1]
    taps = length // bins
    size = max(1, TILE // bins)
    tiles = (frames + size - 1) // size
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // tiles
        begin = (unit % tiles) * size
        end = min(begin + size, frames)
        for n in range(begin, end):
            for h in range(bins):
                out[item, n, h] = 0
        # The windows whose runs can reach the tile: the positions of window p lie in [p * smallest, (p + 1) * largest).
        window_first = max(0, (begin - taps + 1 + before) // largest)
        window_last = min(windows - 1, (end - 1 + before) // smallest)
        for k in range(latents):
            for p in range(window_first, window_last + 1):
                amplitude = amplitudes[item, p, k]
                position = positions[item, p, k]
                if position < p * smallest or position >= min((p + 1) * largest, frames):
                    misplaced[0] = True
                start = position - before
                low, high = max(start, begin), min(start + taps, end)
                if amplitude != 0 and low < high:
                    row_at, out_at = k * length + (low - start) * bins, (item * frames + low) * bins
                    axpy(amplitude, rows, row_at, out, out_at, (high - low) * bins)
        if scale.size:
            for n in range(begin, end):
                for h in range(bins):
                    out[item, n, h] *= scale[h]
        unit = next_unit(counters, unit)


def scatter_runs(
    amplitudes: Tensor,
    positions: Tensor,
    rows: Tensor,
    frames: int,
    bins: int,
    before: int,
    pools: tuple[int, int],
    scale: Tensor | None = None,
) -> Tensor:
    """Return the sum (B, frames, H) of amplitude * row over all runs, times `scale` (H,) if it is not None.

    `pools` are the smallest and the largest possible pool. An amplitude of 0 adds nothing, not even a NaN of the row.
    Raises ValueError if a position is outside its window.
    """
    out = torch.empty(amplitudes.shape[0], frames, bins, dtype=rows.dtype)
    misplaced = np.zeros(1, dtype=np.bool_)
    units = out.shape[0] * (-(-frames // max(1, TILE // bins)))
    work = 2 * amplitudes.numel() * rows.shape[1] + out.numel()
    heights, places, filters = arrays(amplitudes, positions, rows)
    factor = np.empty(0, filters.dtype) if scale is None else arrays(scale)[0]
    spread(_scatter, units, work, out.numpy(), misplaced, heights, places, filters, before, factor, *pools)
    if misplaced[0]:
        checked_pools(positions, frames)
    return out


@kernel
def _accumulate(counters, partials, dots, source, amplitudes, positions, rows, before, centre):
    frames, bins = source.shape[1], source.shape[2]
    windows, latents = positions.shape[1], positions.shape[2]
    length = partials.shape[2]
    taps = length // bins
    total = source.shape[0] * windows
    all_rows, runs = partials.reshape(-1), source.reshape(-1)
    starts = np.empty(GROUP, dtype=np.int64)
    heights = np.empty(GROUP, dtype=partials.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        partials[unit] = 0
        w, w_last = total * unit // partials.shape[0], total * (unit + 1) // partials.shape[0]
        while w < w_last:
            item = w // windows
            p_first = w - item * windows
            p_last = min(p_first + min(GROUP, w_last - w), windows)
            w += p_last - p_first
            for k in range(latents):
                row_at = (unit * latents + k) * length
                inside = 0  # runs that lie inside their item, which are added together
                for p in range(p_first, p_last):
                    amplitude = amplitudes[item, p, k]
                    start = positions[item, p, k] - before
                    if rows.size:
                        low, high = max(start, 0), min(start + taps, frames)
                        run_at, filter_at = (item * frames + low) * bins, k * length + (low - start) * bins
                        dots[item, p, k] = dot(source, run_at, rows, filter_at, (high - low) * bins)
                    if amplitude == 0:
                        continue
                    if start >= 0 and start + taps <= frames:
                        starts[inside] = (item * frames + start) * bins
                        heights[inside] = amplitude
                        inside += 1
                    else:
                        low, high = max(start, 0), min(start + taps, frames)
                        skipped = (low - start) * bins
                        run_at = (item * frames + low) * bins
                        _add_cut_run(
                            all_rows,
                            row_at + skipped,
                            amplitude,
                            runs,
                            run_at,
                            centre,
                            skipped,
                            (high - low) * bins,
                        )
                add_runs(partials, row_at, length, heights, starts, 0, inside, source, centre)
        unit = next_unit(counters, unit)


@kernel
def _add_cut_run(rows, row_at, amplitude, runs, run_at, centre, centre_at, length):
    """Add one run that the edge of its item cuts; all arrays are flat."""
    for j in range(length):
        rows[row_at + j] += amplitude * (runs[run_at + j] - centre[centre_at + j])


@kernel
def _add_up(counters, total, partials, scale):
    k = next_unit(counters, -1)
    while k >= 0:
        row = total[k]
        row[:] = 0
        for partial in range(partials.shape[0]):
            part = partials[partial, k]
            for j in range(row.size):
                row[j] += part[j]
        for j in range(row.size):
            row[j] *= scale[j]
        k = next_unit(counters, k)


def _repeated(numbers: Tensor, taps: int) -> np.ndarray:
    """Return the numbers (H,) once for each tap, (M*H,)."""
    (row,) = arrays(numbers)
    repeated = np.empty((taps, row.size), row.dtype)
    repeated[:] = row
    return repeated.reshape(-1)


def accumulate_runs(
    source: Tensor,
    amplitudes: Tensor,
    positions: Tensor,
    taps: int,
    before: int,
    mean: Tensor | None = None,
    scale: Tensor | None = None,
    rows: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return the sum (K, M*H), over each latent's windows, of amplitude * (source run - mean) * scale.

    Without `mean` and `scale` (H,) runs are not normalised. Frames outside the recording count as the mean. With
    `rows` the dot products of `gather_dots` of decode are returned too, from the same pass over the source; else None.
    """
    latents, bins = amplitudes.shape[2], source.shape[2]
    source_array, heights, places = arrays(source, amplitudes, positions)
    kind = source_array.dtype
    sums = np.empty((min(PARTIALS, places.shape[0] * places.shape[1]), latents, taps * bins), kind)
    dots = torch.empty(positions.shape if rows is not None else (0, 0, 0), dtype=source.dtype)
    filters = np.empty((0, 0), kind) if rows is None else arrays(rows)[0]
    centre = np.zeros(taps * bins, kind) if mean is None else _repeated(mean, taps)
    factor = np.ones(taps * bins, kind) if scale is None else _repeated(scale, taps)
    total = torch.empty(latents, taps * bins, dtype=source.dtype)
    inputs = source_array, heights, places, filters, before, centre
    spread(_accumulate, len(sums), 2 * heights.size * taps * bins, sums, dots.numpy(), *inputs)
    spread(_add_up, latents, sums.size, total.numpy(), sums, factor)
    return total, None if rows is None else dots
