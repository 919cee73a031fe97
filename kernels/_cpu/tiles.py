"""Tiles of points with small vectors, turned so that loops run over points.

Memory has the D numbers of a point side by side, and D, such as 10, fills no register. A tile (D, POINTS) holds POINTS
points the other way round; it stays in the first- or second-level cache.
"""

from .jit import kernel

POINTS = 256
CHUNK = 16 * POINTS  # points in a unit of work


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
