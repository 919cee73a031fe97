"""Unit vectors of embeddings on the CPU, by tiles of points."""

import numpy as np

from ..embeddings import EPSILON
from .elementary import tanh
from .jit import kernel
from .tiles import read_transposed


@kernel
def read_squashed(tile, inverse, rows, source, first, count, size):
    """Fill the tile with tanh of `count` points of `source`, and `inverse` with 1 / |tanh|; `rows` is scratch."""
    start = first * size
    for i in range(count * size):
        rows[i] = tanh(source[start + i])
    read_transposed(tile, rows, 0, count, size)
    for p in range(count):
        inverse[p] = 0
    for d in range(size):
        for p in range(count):
            inverse[p] += tile[d, p] * tile[d, p]
    one, epsilon = inverse.dtype.type(1.0), inverse.dtype.type(EPSILON)
    for p in range(count):
        inverse[p] = one / np.sqrt(inverse[p] + epsilon)
