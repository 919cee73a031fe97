"""Philox-4x32-10: random numbers from a counter (Salmon et al. 2011, "Parallel random numbers").

Ten rounds with a key of two words scramble a counter of four 32-bit words. In each round

    (hi0, lo0) = M0 * c0,  (hi1, lo1) = M1 * c2
    c0, c1, c2, c3 = hi1 ^ c1 ^ k0,  lo1,  hi0 ^ c3 ^ k1,  lo0

and between rounds the Weyl constants are added to the key. (NumPy's Philox is Philox-4x64.)
"""

import numpy as np

Array = np.ndarray

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)  # section 4.3 and the authors' Random123 library
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # the golden ratio, and sqrt(3) - 1
ROUNDS = 10
WORD = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


def philox(counter: Array, key: Array) -> Array:
    """Return four random 32-bit words, (..., 4) uint32, for counters (..., 4) and keys (..., 2) of 32-bit words."""
    c0, c1, c2, c3 = np.moveaxis(np.asarray(counter, dtype=np.uint64), -1, 0)
    k0, k1 = np.moveaxis(np.asarray(key, dtype=np.uint64), -1, 0)
    for _ in range(ROUNDS):
        product0, product1 = M0 * c0, M1 * c2
        c0, c1 = (product1 >> HALF) ^ c1 ^ k0, product1 & WORD
        c2, c3 = (product0 >> HALF) ^ c3 ^ k1, product0 & WORD
        k0, k1 = (k0 + W0) & WORD, (k1 + W1) & WORD
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1).astype(np.uint32)


def seed_key(seed: int) -> Array:
    """Return a 64-bit seed as a key: its low word, then its high word."""
    return np.array([seed & 0xFFFFFFFF, seed >> 32], dtype=np.uint32)


def draw(seed: int, step: int, item: int, group: int, count: int) -> int:
    """Return a number in [0, count), count < 2**32, for one group of one item of one training step.

    It is floor(first word * count / 2**32), which needs no loop and has a bias below count / 2**32.
    """
    word = philox(np.array([step, item, group, 0]), seed_key(seed))[0]
    return (int(word) * count) >> 32
