"""Fourier transforms on the CPU, of LANES series at once: a series to a lane.

A number of each series is a row of LANES numbers, so a transform is a sequence of operations on whole rows, and
reordering them costs nothing: `rows_of` tells where they are.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from ._cpu.jit import kernel
from .vectors import LANES, fill, load, store


@functools.cache
def roots_of_unity(length: int) -> NDArray[np.float32]:
    """cos and -sin of 2 pi k / length, k < length: (2, length), the two parts of exp(-2 pi i k / length)."""
    angle = 2 * np.pi * np.arange(length) / length
    return np.stack([np.cos(angle), -np.sin(angle)]).astype(np.float32)


@functools.cache
def rows_of(length: int) -> NDArray[np.int64]:
    """The row in which `transform` leaves each frequency, (length,)."""
    if length < 4:
        return np.arange(length)
    frequency = np.arange(length)
    return frequency % 4 * (length // 4) + rows_of(length // 4)[frequency // 4]


@kernel
def transform(re, im, length, cosines, sines):
    """sum_t x[t] exp(-2 pi i k t / length), in place; with `re` and `im` exchanged the inverse's sum.

    re, im: (length * LANES,), row t holding x[t] of each series; the length a power of 2. Frequency k ends up in row
    `rows_of(length)[k]`. cosines, sines: `roots_of_unity` of the length or of a multiple of it.

    Decimation in frequency: the part of length n that holds the frequencies k + r n', r fixed, is cut into four, one
    for each k mod 4, until there are parts of 1, or of 2, which are transformed at once.
    """
    part = length
    while part >= 4:
        quarter, turn = part // 4, cosines.size // part
        step, i = quarter * LANES, 0
        while i < length * LANES:
            for t in range(quarter):
                c1, s1 = fill(cosines, t * turn), fill(sines, t * turn)
                c2, s2 = fill(cosines, 2 * t * turn), fill(sines, 2 * t * turn)
                c3, s3 = fill(cosines, 3 * t * turn), fill(sines, 3 * t * turn)
                j, k, m = i + step, i + 2 * step, i + 3 * step
                sum_re, sum_im = load(re, i) + load(re, k), load(im, i) + load(im, k)
                dif_re, dif_im = load(re, i) - load(re, k), load(im, i) - load(im, k)
                odd_re, odd_im = load(re, j) + load(re, m), load(im, j) + load(im, m)
                # minus i times the difference of the odd ones
                skew_re, skew_im = load(im, j) - load(im, m), load(re, m) - load(re, j)
                store(sum_re + odd_re, re, i)
                store(sum_im + odd_im, im, i)
                a, b = dif_re + skew_re, dif_im + skew_im
                store(a * c1 - b * s1, re, j)
                store(a * s1 + b * c1, im, j)
                a, b = sum_re - odd_re, sum_im - odd_im
                store(a * c2 - b * s2, re, k)
                store(a * s2 + b * c2, im, k)
                a, b = dif_re - skew_re, dif_im - skew_im
                store(a * c3 - b * s3, re, m)
                store(a * s3 + b * c3, im, m)
                i += LANES
            i += 3 * step
        part = quarter
    if part == 2:
        for i in range(0, length * LANES, 2 * LANES):
            j = i + LANES
            a, b = load(re, i), load(re, j)
            store(a + b, re, i)
            store(a - b, re, j)
            a, b = load(im, i), load(im, j)
            store(a + b, im, i)
            store(a - b, im, j)
