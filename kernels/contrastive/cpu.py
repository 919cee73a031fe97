"""contrastive_loss on the CPU: value and gradients in one pass over tiles of points.

With t = tanh(e), r = 1 / |t| and the products z_s = r <t, u_s>, the slope a_s = d loss / d z_s and the gradient is

    d loss / de[d] = (1 - t[d]^2) (sum_s r a_s u_s[d] - r^2 (sum_s a_s z_s) t[d])
"""

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.elementary import exp_below, log1p_of
from .._cpu.embeddings import read_squashed
from .._cpu.jit import kernel
from .._cpu.simd import add_runs, axpy, dot
from .._cpu.threads import next_unit, spread
from .._cpu.tiles import CHUNK, POINTS, write_transposed
from ..embeddings import check_labels


@kernel
def _contrastive(counters, grad, losses, sums, misplaced, embeddings, vectors, labels, points, size):
    sources = vectors.shape[1]
    chunks = (points + CHUNK - 1) // CHUNK
    kind = grad.dtype.type
    share = kind(1.0 / (labels.size * sources))
    tile, rows = np.empty((size, POINTS), grad.dtype), np.empty(size * POINTS, grad.dtype)
    inverse, along, loss = np.empty(POINTS, grad.dtype), np.empty(POINTS, grad.dtype), np.empty(POINTS, grad.dtype)
    slopes = np.empty((sources, POINTS), grad.dtype)
    numbers = np.arange(size) * POINTS  # the start of each row of the tile
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // chunks
        begin = unit % chunks * CHUNK
        total = 0.0
        sums[unit] = 0
        for first in range(item * points + begin, item * points + min(begin + CHUNK, points), POINTS):
            count = min(POINTS, item * points + points - first)
            read_squashed(tile, inverse, rows, embeddings, first, count, size)
            misplaced[0] |= _misplaced(labels, first, count, sources)
            along[:] = 0
            loss[:] = 0
            for s in range(sources):
                slopes[s, :count] = 0
                add_runs(slopes, s * POINTS, count, vectors[item, s], numbers, 0, size, tile, None)
                _slopes(slopes, s, along, loss, inverse, labels, first, count, share)
                for d in range(size):
                    sums[unit, s, d] += dot(slopes, s * POINTS, tile, d * POINTS, count)
            for p in range(count):
                total += loss[p]
                along[p] *= inverse[p] * inverse[p]
            _gradient(tile, slopes, along, loss, vectors[item], count, size)
            write_transposed(grad, tile, first, count, size)
        losses[unit] = total
        unit = next_unit(counters, unit)


@kernel
def _slopes(slopes, s, along, loss, inverse, labels, first, count, share):
    """Replace <t, u_s> by r a_s; add a_s z_s to `along` and to the loss. Each loop has few arrays, to be vectorized."""
    zero, one = loss.dtype.type(0.0), loss.dtype.type(1.0)
    for p in range(count):
        z = slopes[s, p] * inverse[p]
        slopes[s, p] = z if labels[first + p] == s else -z
    for p in range(count):
        agreement = slopes[s, p]
        small = exp_below(-abs(agreement))
        loss[p] += log1p_of(small) - (agreement if agreement < zero else zero)
        weight = share * (small if agreement > zero else one) / (one + small)
        along[p] -= weight * agreement
        slopes[s, p] = weight
    for p in range(count):
        slope = slopes[s, p] * inverse[p]
        slopes[s, p] = -slope if labels[first + p] == s else slope


@kernel
def _misplaced(labels, first, count, sources):
    """Return whether a label is out of range."""
    wrong = False
    for p in range(count):
        wrong |= labels[first + p] < 0 or labels[first + p] >= sources
    return wrong


@kernel
def _gradient(tile, slopes, along, gradient, vectors, count, size):
    """Replace tanh in the tile by the gradient with respect to the embeddings; `gradient` is scratch memory."""
    one = along.dtype.type(1.0)
    for d in range(size):
        for p in range(count):
            gradient[p] = -along[p] * tile[d, p]
        for s in range(len(vectors)):
            axpy(vectors[s, d], slopes, s * POINTS, gradient, 0, count)
        for p in range(count):
            tile[d, p] = gradient[p] * (one - tile[d, p] * tile[d, p])


def contrastive_loss(
    embeddings: Tensor, table: Tensor, sources: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    batch, frames, bins, size = embeddings.shape
    points, count = frames * bins, sources.shape[1]
    grad = torch.empty(embeddings.shape, dtype=embeddings.dtype)
    e, rows, chosen, marks = arrays(embeddings, table, sources, labels.long())
    units = batch * -(-points // CHUNK)
    losses, sums = np.empty(units), np.empty((units, count, size))
    misplaced = np.zeros(1, np.bool_)
    vectors = rows[chosen]
    arguments = e.reshape(-1), vectors, marks.reshape(-1), points, size
    spread(_contrastive, units, 20 * grad.numel(), grad.numpy().reshape(-1), losses, sums, misplaced, *arguments)
    if misplaced[0]:
        check_labels(labels, count)
    grad_table = np.zeros(rows.shape)
    np.add.at(grad_table, chosen, sums.reshape(batch, -1, count, size).sum(1))
    loss = torch.tensor(losses.sum() / (batch * points * count), dtype=embeddings.dtype)
    return loss, grad, torch.from_numpy(grad_table.astype(rows.dtype))
