"""Philox-4x32-10: random numbers from a counter (Salmon et al. 2011)."""

import numpy as np
import torch
from torch import Tensor


def first_word(seed: int, step: np.ndarray, item: np.ndarray, group: np.ndarray) -> np.ndarray:
    """First word of Philox-4x32-10 for key `seed` and counters (step, item, group, 0): uint64 below 2**32.

    The key is the seed's low word and its high word. The other arguments are uint64 arrays that broadcast.
    """
    half, word = np.uint64(32), np.uint64(0xFFFFFFFF)
    even, odd = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    c0, c1, c2, c3 = step, item, group, np.uint64(0)
    for _ in range(10):
        p0, p1 = c0 * even, c2 * odd
        c0, c1 = (p1 >> half) ^ c1 ^ np.uint64(k0), p1 & word
        c2, c3 = (p0 >> half) ^ c3 ^ np.uint64(k1), p0 & word
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0


def words(seed: int, *counter: int | Tensor) -> list[Tensor]:
    """The four words of Philox-4x32-10 for key `seed` and a counter of four words: int64 below 2**32.

    The counter's words are numbers and int64 tensors that broadcast, at least one of them a tensor. Products wrap
    around in 64 bits, signed or not, to the same bits.
    """
    word = 0xFFFFFFFF
    k0, k1 = seed & word, seed >> 32
    like = next(c for c in counter if isinstance(c, Tensor))
    c0, c1, c2, c3 = (torch.as_tensor(c, dtype=torch.int64, device=like.device) for c in counter)
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1 = (p1 >> 32 & word) ^ c1 ^ k0, p1 & word
        c2, c3 = (p0 >> 32 & word) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return list(torch.broadcast_tensors(c0, c1, c2, c3))
