"""Transposed tiles of points with short vectors, so that inner loops run over points.

In memory the D numbers of a point are contiguous, and a small D, such as 10, does not fill a register. A tile
(D, POINTS) is the transpose of POINTS points; it stays in the first- or second-level cache.
"""

from .jit import kernel

POINTS = 256
CHUNK = 16 * POINTS  # points in a unit of work


@kernel
def read_transposed(tile, source, first, count, size):
    """Fill the tile with `count` points of `source`, from number `first` on."""
    start = first * size
    for d in range(size):
        for p in range(count):
            tile[d, p] = source[start + p * size + d]


@kernel
def write_transposed(target, tile, first, count, size):
    """Write the points of the tile to `target`, from number `first` on."""
    start = first * size
    for p in range(count):
        for d in range(size):
            target[start + p * size + d] = tile[d, p]
