"""normals on the CPU: logarithm, sine and cosine are polynomials, so that loops over counters are vectorized."""

import numpy as np
import torch
from torch import Tensor

from .._cpu.jit import kernel
from .._cpu.philox import words_at
from .._cpu.threads import next_unit, spread
from ..philox import WORDS

COUNTERS = 256  # in a unit: its intermediate results stay in the first-level cache

# Chebyshev fits of ln(1 + f) / f for 1 + f from sqrt(1/2) to sqrt(2), and of sin(2 pi v) / v and cos(2 pi v) in v^2 for
# v up to 1/2. Their errors are below 1e-8, less than the rounding of float32.
LOG = np.array(
    [
        1.0,
        -0.49999988,
        0.33333324,
        -0.25001585,
        0.20002072,
        -0.16609127,
        0.14180079,
        -0.13240843,
        0.1291417,
        -0.07638592,
    ],
    np.float32,
)
SINE = np.array(
    [6.283185307, -41.34170222, 81.60524742, -76.70580022, 42.05775404, -15.08656536, 3.781319152, -0.6207790177],
    np.float32,
)
COSINE = np.array(
    [1.0, -19.73920874, 64.93938908, -85.45665831, 60.24213134, -26.40466818, 7.800131421, -1.453112297],
    np.float32,
)
LN2 = np.float32(np.log(2.0))
ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2) as float32


@kernel
def _words(words, seed, step, item, group, first):
    """Fill (4, COUNTERS) with the upper 24 bits of the words from counter (step, item, group, first) on."""
    unused = np.uint64(8)
    for j in range(COUNTERS):
        w0, w1, w2, w3 = words_at(seed, step, item, group, np.uint64(first + j))
        words[0, j], words[1, j] = np.int32(w0 >> unused), np.int32(w1 >> unused)
        words[2, j], words[3, j] = np.int32(w2 >> unused), np.int32(w3 >> unused)


@kernel
def _box_muller(numbers, others, u, v, bits):
    """Fill both normal numbers of words u and v, int32 below 2^24; `bits` is int32 scratch memory of their size."""
    uniform = bits.view(np.float32)
    one, scale = np.int32(1), np.float32(2.0**-24)
    for j in range(u.size):
        uniform[j] = np.float32(u[j] + one) * scale
    for j in range(u.size):
        exponent = (bits[j] - ROOT_HALF) >> np.int32(23)
        u[j] = exponent
        bits[j] -= exponent << np.int32(23)  # uniform[j] is now from sqrt(1/2) to sqrt(2)
    for j in range(u.size):
        f = uniform[j] - np.float32(1)
        p = LOG[9]
        for i in range(8, -1, -1):
            p = p * f + LOG[i]
        log = np.float32(u[j]) * LN2 + p * f
        radius = np.sqrt(max(np.float32(-2) * log, np.float32(0)))
        # The angle minus half a turn: both signs change.
        t = np.float32(v[j] + one) * scale - np.float32(0.5)
        square = t * t
        s, c = SINE[7], COSINE[7]
        for i in range(6, -1, -1):
            s = s * square + SINE[i]
            c = c * square + COSINE[i]
        numbers[j] = -radius * c
        others[j] = -radius * (s * t)


@kernel
def _draw(counters, out, seed, step, first, group, samples):
    columns = (samples + WORDS - 1) // WORDS
    units = (columns + COUNTERS - 1) // COUNTERS
    words, bits = np.empty((WORDS, COUNTERS), np.int32), np.empty(COUNTERS, np.int32)
    numbers = np.empty((WORDS, COUNTERS), np.float32)
    unit = next_unit(counters, -1)
    while unit >= 0:
        row, at = unit // units, unit % units * COUNTERS
        _words(words, seed, step, np.uint64(first + row), group, at)
        _box_muller(numbers[0], numbers[1], words[0], words[1], bits)
        _box_muller(numbers[2], numbers[3], words[2], words[3], bits)
        count = min(COUNTERS, columns - at)
        for q in range(WORDS):
            begin = q * columns + at
            size = min(count, samples - begin)
            for j in range(size):
                out[row, begin + j] = numbers[q, j]
        unit = next_unit(counters, unit)


def normals(seed: int, step: int, items: range, group: int, samples: int, device: torch.device) -> Tensor:
    out = torch.empty(len(items), samples)
    units = len(items) * -(-samples // (WORDS * COUNTERS))
    place = np.uint64(seed), np.uint64(step), items.start, np.uint64(group)
    spread(_draw, units, 20 * out.numel(), out.numpy(), *place, samples)
    return out
