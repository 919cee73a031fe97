"""affinity_loss on the CPU, in two passes over tiles of points: the small products, then the gradient.

With t = tanh(e), r = 1 / |t| and V = r t, the first pass sums V'WV = sum_p w r^2 t t' and V'WY. They give the loss and,
scaled, the matrices A and C of the gradient with respect to V, g = w (A V - C y). The second pass computes the gradient
with respect to e, (g - <g, V> V) r (1 - t^2).
"""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.embeddings import read_squashed
from .._cpu.jit import kernel
from .._cpu.simd import add_runs, axpy, dot
from .._cpu.threads import next_unit, spread
from .._cpu.tiles import CHUNK, POINTS, write_transposed
from ..embeddings import check_labels
from .scales import scales


@kernel
def _products(counters, among, across, sizes, misplaced, embeddings, labels, weights, points, size):
    """Sum each unit's lower half of V'WV (D, D), V'WY (D, S) and diagonal of Y'WY (S,)."""
    sources = across.shape[2]
    chunks = (points + CHUNK - 1) // CHUNK
    tile, rows = np.empty((size, POINTS), embeddings.dtype), np.empty(size * POINTS, embeddings.dtype)
    scratch = np.empty((3, POINTS), embeddings.dtype)
    inverse, weight, row = scratch[0], scratch[1], scratch[2]
    members = np.empty((sources, POINTS), embeddings.dtype)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // chunks
        begin = item * points + unit % chunks * CHUNK
        among[unit], across[unit], sizes[unit] = 0, 0, 0
        for first in range(begin, min(begin + CHUNK, item * points + points), POINTS):
            count = min(POINTS, item * points + points - first)
            read_squashed(tile, inverse, rows, embeddings, first, count, size)
            misplaced[0] |= _members(members, weight, weights, labels, first, count)
            for s in range(sources):
                for p in range(count):
                    sizes[unit, s] += members[s, p]
                    members[s, p] *= inverse[p]
            for d in range(size):
                for p in range(count):
                    row[p] = weight[p] * inverse[p] * inverse[p] * tile[d, p]
                for other in range(d + 1):
                    among[unit, d, other] += dot(row, 0, tile, other * POINTS, count)
                for s in range(sources):
                    across[unit, d, s] += dot(members, s * POINTS, tile, d * POINTS, count)
        unit = next_unit(counters, unit)


@kernel
def _members(members, weight, weights, labels, first, count):
    """Fill each point's weight, and W Y: the weight in the row of its label. Return whether a label is out of range."""
    sources, none = len(members), weight.dtype.type(0.0)
    wrong = False
    for p in range(count):
        weight[p] = weights[first + p] if weights.size else weight.dtype.type(1.0)
        wrong |= labels[first + p] < 0 or labels[first + p] >= sources
    for s in range(sources):
        for p in range(count):
            members[s, p] = weight[p] if labels[first + p] == s else none
    return wrong


@kernel
def _gradient(counters, grad, embeddings, labels, weights, among, across, points, size):
    sources = across.shape[2]
    chunks = (points + CHUNK - 1) // CHUNK
    tile, slopes = np.empty((size, POINTS), grad.dtype), np.empty((size, POINTS), grad.dtype)
    rows, members = np.empty(size * POINTS, grad.dtype), np.empty((sources, POINTS), grad.dtype)
    scratch = np.empty((3, POINTS), grad.dtype)
    inverse, weight, along = scratch[0], scratch[1], scratch[2]
    numbers = np.arange(size) * POINTS  # the start of each row of the tile
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // chunks
        begin = item * points + unit % chunks * CHUNK
        for first in range(begin, min(begin + CHUNK, item * points + points), POINTS):
            count = min(POINTS, item * points + points - first)
            read_squashed(tile, inverse, rows, embeddings, first, count, size)
            _members(members, weight, weights, labels, first, count)
            along[:] = 0
            for d in range(size):
                slopes[d, :count] = 0
                add_runs(slopes, d * POINTS, count, among[item, d], numbers, 0, size, tile, None)
                for p in range(count):
                    slopes[d, p] *= weight[p] * inverse[p]
                for s in range(sources):
                    axpy(-across[item, d, s], members, s * POINTS, slopes, d * POINTS, count)
                for p in range(count):
                    along[p] += slopes[d, p] * tile[d, p]
            _turn_back(tile, slopes, along, inverse, count)
            write_transposed(grad, tile, first, count, size)
        unit = next_unit(counters, unit)


@kernel
def _turn_back(tile, slopes, along, inverse, count):
    """Replace tanh by the gradient with respect to the embeddings; `along` is <g, t>."""
    one = along.dtype.type(1.0)
    for p in range(count):
        along[p] *= inverse[p] * inverse[p]
    for d in range(len(tile)):
        for p in range(count):
            across = slopes[d, p] - along[p] * tile[d, p]
            tile[d, p] = across * inverse[p] * (one - tile[d, p] * tile[d, p])


def affinity_loss(
    embeddings: Tensor, labels: Tensor, weights: Tensor | None, sources: int, variant: str
) -> tuple[Tensor, Tensor]:
    batch, points, size = embeddings.shape
    grad = torch.empty(embeddings.shape, dtype=embeddings.dtype)
    weights = embeddings.new_empty(0) if weights is None else weights
    inputs = [array.reshape(-1) for array in arrays(embeddings, labels.long(), weights)]
    units = batch * -(-points // CHUNK)
    among, across = np.empty((units, size, size)), np.empty((units, size, sources))
    sizes, misplaced = np.empty((units, sources)), np.zeros(1, np.bool_)
    work = 2 * size * grad.numel()
    spread(_products, units, work, among, across, sizes, misplaced, *inputs, points, size)
    if misplaced[0]:
        check_labels(labels, sources)
    among, across, sizes = (torch.from_numpy(_of_items(parts, batch)) for parts in (among, across, sizes))
    among = among.tril() + among.tril(-1).mT
    losses, scale_among, scale_across = scales(among, across, sizes, variant)
    matrices = scale_among[:, None, None] * among / batch, scale_across[:, None, None] * across / batch
    matrices = arrays(*(matrix.to(grad.dtype) for matrix in matrices))
    spread(_gradient, units, work, grad.numpy().reshape(-1), *inputs, *matrices, points, size)
    return losses.mean().to(grad.dtype), grad


def _of_items(parts: np.ndarray, batch: int) -> np.ndarray:
    """Return the sum over each item's units."""
    return parts.reshape(batch, -1, *parts.shape[1:]).sum(1)
