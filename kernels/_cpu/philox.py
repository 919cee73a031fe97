"""Philox-4x32-10 in compiled kernels."""

import numpy as np

from ..philox import NUMBERS, rounds
from .jit import kernel

_NUMBERS = tuple(map(np.uint64, NUMBERS))
_rounds = kernel(rounds)


@kernel
def words_at(seed, c0, c1, c2, c3):
    """Return the four words, below 2**32, for key `seed` and counter (c0, c1, c2, c3), all uint64."""
    key = seed & np.uint64(0xFFFFFFFF), seed >> np.uint64(32)
    return _rounds(key, (c0, c1, c2, c3), _NUMBERS)
