# pyright: reportCallIssue=false
"""CPU kernel of the activations of a factorisation; `nmf` has the formula."""

import numpy as np
from numpy.typing import NDArray

from ..kernels._cpu.jit import kernel
from ..kernels._cpu.simd import FRAMES, VECTOR_BYTES, multiply_panel
from ..kernels._cpu.threads import next_unit, spread

Array = NDArray[np.floating]

TILE = 4 * FRAMES  # frames in a unit of work; a panel of the dictionary is in the first-level cache for all of them


def activations(magnitudes: Array, components: Array, back: Array, start: Array, iterations: int, tiny: float) -> Array:
    """Return the activations a (N, K) after updates a <- a * ((x / (a @ components + tiny)) @ back).

    Args:
        magnitudes: x, (N, H).
        components: (K, H).
        back: (H, K).
        start: of the activations, (N, K).
        iterations: number of updates.
        tiny: positive.
    """
    kind = magnitudes.dtype.type
    active = np.array(start, kind, order="C")
    lanes = VECTOR_BYTES // magnitudes.dtype.itemsize
    rounded = tuple(-(-count // lanes) * lanes for count in back.shape)
    panels = tuple(_panels(matrix.astype(kind, copy=False), lanes) for matrix in (components, back))
    units, work = -(-len(active) // TILE), 4 * active.size * len(back) * iterations
    spread(
        _activations, units, work, active, np.ascontiguousarray(magnitudes), *panels, rounded, iterations, kind(tiny)
    )
    return active


def _panels(matrix: Array, lanes: int) -> Array:
    """Return the columns of a matrix in panels of two vectors of `lanes`, and of one at the end, as a flat array."""
    rows, columns = matrix.shape
    wide = np.zeros((rows, -(-columns // lanes) * lanes), matrix.dtype)
    wide[:, :columns] = matrix
    return np.concatenate([wide[:, c : c + 2 * lanes].ravel() for c in range(0, wide.shape[1], 2 * lanes)])


@kernel
def _activations(counters, active, magnitudes, components, back, rounded, iterations, tiny):
    frames, count = active.shape
    bins = magnitudes.shape[1]
    # Rows are padded to whole vectors and frames to whole blocks, with zeros.
    x, ratio = np.zeros((TILE, rounded[0]), active.dtype), np.zeros((TILE, rounded[0]), active.dtype)
    own, factor = np.zeros((TILE, rounded[1]), active.dtype), np.zeros((TILE, rounded[1]), active.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        begin = unit * TILE
        inside = min(TILE, frames - begin)
        x[inside:] = 0
        own[inside:] = 0
        for n in range(inside):
            x[n, :bins] = magnitudes[begin + n]
            own[n, :count] = active[begin + n]
        for _ in range(iterations):
            _multiply(ratio, own, components, inside, count)
            for n in range(inside):
                row, source = ratio[n], x[n]
                for h in range(bins):
                    row[h] = source[h] / (row[h] + tiny)
            _multiply(factor, ratio, back, inside, bins)
            for n in range(inside):
                row, source = own[n], factor[n]
                for k in range(count):
                    row[k] *= source[k]
        for n in range(inside):
            active[begin + n] = own[n, :count]
        unit = next_unit(counters, unit)


@kernel
def _multiply(out, x, panels, frames, length):
    """Write x[:, :length] @ matrix to `out`, for the panels of a matrix and for `frames` rows, rounded up to blocks."""
    columns, row = out.shape[1], x.shape[1]
    wide = 2 * VECTOR_BYTES // out.itemsize
    for c in range(0, columns, wide):
        for n in range(0, frames, FRAMES):
            if columns - c >= wide:
                multiply_panel(out, n * columns + c, columns, x, n * row, row, panels, c * length, length, 2)
            else:
                multiply_panel(out, n * columns + c, columns, x, n * row, row, panels, c * length, length, 1)
