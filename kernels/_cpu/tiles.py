"""Tiles of points with small vectors, turned so that loops run over points.

Memory has the D numbers of a point side by side, and D, such as 10, fills no register. A tile (D, POINTS) holds POINTS
points the other way round; it stays in the first- or second-level cache.
"""

import numpy as np

from ..embeddings import EPSILON
from .elementary import tanh
from .jit import kernel

POINTS = 256
CHUNK = 16 * POINTS  # points in a unit of work


@kernel
def read_squashed(tile, inverse, rows, source, first, count, size):
    """tanh of `count` points from number `first` of `source` on, and 1 / |tanh| of each; `rows` is for use inside."""
    start = first * size
    for i in range(count * size):
        rows[i] = tanh(source[start + i])
    read_turned(tile, rows, 0, count, size)
    for p in range(count):
        inverse[p] = 0
    for d in range(size):
        for p in range(count):
            inverse[p] += tile[d, p] * tile[d, p]
    one, epsilon = inverse.dtype.type(1.0), inverse.dtype.type(EPSILON)
    for p in range(count):
        inverse[p] = one / np.sqrt(inverse[p] + epsilon)


@kernel
def read_turned(tile, source, first, count, size):
    """`count` points from number `first` of `source` on."""
    start = first * size
    for d in range(size):
        for p in range(count):
            tile[d, p] = source[start + p * size + d]


@kernel
def write_turned(target, tile, first, count, size):
    """The tile's points to their places in `target`."""
    start = first * size
    for p in range(count):
        for d in range(size):
            target[start + p * size + d] = tile[d, p]
