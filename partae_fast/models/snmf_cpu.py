"""Activations of sparse NMF on the CPU: each thread takes a block of frames through all updates by itself.

Products are NumPy's OpenBLAS, with one thread each. Products on all threads, in turn with elementwise passes, take 1.5
to 2.3 times as long, because the threads of one library wait on processors that the other's need. Blocks do not depend
on the number of threads, so it changes no bit. Learning in blocks of bins was tried, and is slower for 100 rows.
"""

import numpy as np

from ..kernels._cpu.openblas import OPENBLAS
from ..kernels._cpu.threads import next_unit, spread

FRAMES = 256  # in a block; 64 frames take a sixth longer with 1000 rows in the dictionary


def available() -> bool:
    """Return whether NumPy's products can run on one thread, by OpenBLAS."""
    return OPENBLAS is not None


def activations(x: np.ndarray, dictionary: np.ndarray, divisor: np.ndarray, iterations: int, tiny: float) -> np.ndarray:
    """Return activations a (N, K) after updates a <- a * ((x / max(a @ dictionary, tiny)) @ dictionary^T) / divisor.

    Args:
        x: (N, H) magnitudes.
        dictionary: (K, H), of the type of x.
        divisor: (K,), of the type of x.
        iterations: number of updates, which start from ones.
        tiny: positive.
    """
    assert OPENBLAS is not None, "NumPy's products are not OpenBLAS's"
    active = np.ones((len(x), len(dictionary)), x.dtype)
    blocks, work = -(-len(x) // FRAMES), 4 * active.size * x.shape[1] * iterations
    with OPENBLAS:
        spread(_update, blocks, work, active, x, dictionary, divisor, iterations, x.dtype.type(tiny))
    return active


def _update(
    counters: np.ndarray,
    active: np.ndarray,
    x: np.ndarray,
    dictionary: np.ndarray,
    divisor: np.ndarray,
    iterations: int,
    tiny: np.floating,
) -> None:
    unit = next_unit(counters, -1)
    while unit >= 0:
        frames = slice(unit * FRAMES, (unit + 1) * FRAMES)
        own, magnitudes = active[frames], x[frames]
        ratio, factor = np.empty_like(magnitudes), np.empty_like(own)
        for _ in range(iterations):
            np.matmul(own, dictionary, out=ratio)
            np.maximum(ratio, tiny, out=ratio)
            np.divide(magnitudes, ratio, out=ratio)
            np.matmul(ratio, dictionary.T, out=factor)
            np.multiply(own, factor, out=own)
            np.divide(own, divisor, out=own)
        unit = next_unit(counters, unit)
