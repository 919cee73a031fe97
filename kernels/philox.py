"""Philox-4x32-10: random numbers from a counter (Salmon et al. 2011)."""

import numpy as np
import torch
from torch import Tensor

WORDS = 4  # random words for each counter
# Factors of the counter's words 0 and 2; increments of the key's words in a round; bits of a word; the largest word.
NUMBERS = (0xD2511F53, 0xCD9E8D57, 0x9E3779B9, 0xBB67AE85, 32, 0xFFFFFFFF)


def rounds(key, counter, numbers):
    """Return the four random words of a counter of four words and a key of two.

    Key, counter and `numbers` (NUMBERS) share one 64-bit type: uint64, or int64, whose products wrap around to the
    same bits. `_cpu/philox.py` compiles this function for the CPU kernels.
    """
    even, odd, grow0, grow1, half, word = numbers
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(10):
        p0, p1 = c0 * even, c2 * odd
        c0, c1 = ((p1 >> half) & word) ^ c1 ^ k0, p1 & word
        c2, c3 = ((p0 >> half) & word) ^ c3 ^ k1, p0 & word
        k0, k1 = (k0 + grow0) & word, (k1 + grow1) & word
    return c0, c1, c2, c3


def first_word(seed: int, step: np.ndarray, item: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the first word of Philox-4x32-10 for key `seed` and counters (step, item, group, 0): uint64 below 2**32.

    The key is the seed's low word and its high word. The other arguments are uint64 arrays that broadcast.
    """
    key = np.uint64(seed & 0xFFFFFFFF), np.uint64(seed >> 32)
    return rounds(key, (step, item, group, np.uint64(0)), tuple(map(np.uint64, NUMBERS)))[0]


def words(seed: int, *counter: int | Tensor) -> list[Tensor]:
    """Return the four words of Philox-4x32-10 for key `seed` and a counter of four words: int64 below 2**32.

    The words of the counter are numbers or int64 tensors that broadcast; at least one is a tensor.
    """
    like = next(c for c in counter if isinstance(c, Tensor))
    tensors = [torch.as_tensor(c, dtype=torch.int64, device=like.device) for c in counter]
    return list(torch.broadcast_tensors(*rounds((seed & 0xFFFFFFFF, seed >> 32), tensors, NUMBERS)))
