"""CPU kernels of the filter's gain, D^0.45 E^0.45 A^0.225, for blocks of frames that stay in the second-level cache.

`two_gains` computes D E and the magnitudes that are factorised; `apply` computes A from the factorisation, and
multiplies the spectra by the whole gain. `models.noise_filter` has the formula.
"""

import math

import numpy as np
from numpy.typing import NDArray

from ..kernels._cpu.elementary import exp_below, log_of
from ..kernels._cpu.jit import kernel
from .empirical_bayes import POWERS

Array = NDArray[np.float32]

# An argument of the kernel, because Numba does not compile again for a constant that another file changes: the least
# power in a table, its logarithm, entries of a table for a step of the logarithm, and the last entry.
_SCALE = (math.exp(POWERS[0]), POWERS[0], 1 / (POWERS[1] - POWERS[0]), len(POWERS) - 1)
_TINY = np.float32(1e-20)  # of a power that is divided by
_SMALLEST = np.float32(np.finfo(np.float32).tiny)  # below this a float32 loses digits, and its logarithm is wrong


def two_gains(
    spectra: NDArray[np.complex64],
    first: int,
    begin: int,
    count: int,
    level: Array,
    scale: np.float32,
    table: Array,
    memory: float,
    least: float,
    block: int,
) -> tuple[Array, Array]:
    """Return D E, the decision-directed gain times the empirical Bayes gain, and scaled magnitudes, (count, B) each.

    Args:
        spectra: of all frames, (N, bins).
        first: bin of the band's bin 0.
        begin, count: the frames; begin is a multiple of `block`.
        level: mean power of the noise in the band, (B,), positive.
        scale: factor of the magnitudes.
        table: of `empirical_bayes.bin_tables`, (B * 128,).
        memory, least, block: see `decision_directed`.
    """
    gain, magnitudes = (np.empty((count, len(level)), np.float32) for _ in range(2))
    numbers = (np.float32(memory), np.float32(1 - memory), np.float32(least), scale)
    places = tuple(map(np.float32, _SCALE))
    _two_gains(
        gain, magnitudes, spectra.view(np.float32), first, begin, level, 1 / level, table, places, numbers, block
    )
    return gain, magnitudes


def apply(
    spectra: NDArray[np.complex64],
    first: int,
    begin: int,
    gain: Array,
    parts: tuple[Array, Array],
    weights: Array,
    power: float,
) -> None:
    """Multiply frames of the spectra by (gain^2 A)^power * weights in the band, and by 0 elsewhere, in place.

    Args:
        spectra, first, begin: see `two_gains`.
        gain: D E, (count, B).
        parts: magnitudes of signal and noise as they are factorised, (count, B) each; A is the signal's share of the
            power, and 0 where both are 0.
        weights: of the window, (B,).
        power: of the gain, positive.
    """
    _apply(spectra.view(np.float32), first, begin, gain, *parts, weights, np.float32(power))


@kernel
def _two_gains(gain, magnitudes, spectra, first, begin, level, over_level, table, places, numbers, block):
    count, bins = gain.shape
    frames = spectra.shape[0]
    memory, rest, least, scale = numbers
    least_power, least_log, per_step, last = places
    row = table.size // bins
    one, zero = np.float32(1), np.float32(0)
    power = np.empty((count + 2, bins), np.float32)  # of a frame more on both sides; the ends of `spectra` repeat
    for i in range(count + 2):
        _relative_power(power[i], spectra[min(max(begin - 1 + i, 0), frames - 1)], first, over_level)
    earlier, before = np.empty(bins, np.float32), np.empty(bins, np.float32)
    for i in range(count):
        own, out = power[i + 1], magnitudes[i]
        for h in range(bins):
            out[h] = math.sqrt(own[h] * level[h]) * scale
    for start in range(begin, begin + count, block):
        before[:] = 0
        for n in range(max(0, start - block), min(start + block, begin + count)):
            if n < begin:
                _relative_power(earlier, spectra[n], first, over_level)
                p = earlier
            else:
                p = power[n - begin + 1]
            if n < start:
                for h in range(bins):
                    ratio = _ratio(memory, before[h], rest, p[h], least)
                    g = ratio / (one + ratio)
                    before[h] = g * g * p[h]
            else:
                out = gain[n - begin]
                for h in range(bins):
                    ratio = _ratio(memory, before[h], rest, p[h], least)
                    g = ratio / (one + ratio)
                    before[h] = g * g * p[h]
                    out[h] = g
    summed = np.empty(bins + 2, np.float32)
    at = np.empty(bins, np.float32)
    for i in range(count):
        above, own, below = power[i], power[i + 1], power[i + 2]
        middle = summed[1 : bins + 1]
        for h in range(bins):
            middle[h] = above[h] + own[h] + below[h]
        summed[0] = middle[0]
        summed[bins + 1] = middle[bins - 1]
        left, right = summed[:bins], summed[2:]
        for h in range(bins):
            mean = (left[h] + middle[h] + right[h]) * np.float32(1 / 9)
            place = (log_of(mean if mean > least_power else least_power) - least_log) * per_step
            place = place if place > zero else zero  # NaN too, which must not become an index
            at[h] = place if place < last else last
        out = gain[i]
        for h in range(bins):
            whole = np.int32(at[h])
            j = h * row + whole
            out[h] *= table[j] + (at[h] - np.float32(whole)) * (table[j + 1] - table[j])


@kernel
def _ratio(memory, before, rest, p, least):
    """Return the decision-directed signal-to-noise ratio."""
    above = p - np.float32(1)
    above = np.float32(0) if above < 0 else above  # keeps NaN
    ratio = memory * before + rest * above
    return least if ratio < least else ratio


@kernel
def _relative_power(power, spectrum, first, over_level):
    for h in range(power.size):
        real, imaginary = spectrum[2 * (first + h)], spectrum[2 * (first + h) + 1]
        power[h] = (real * real + imaginary * imaginary) * over_level[h]


@kernel
def _apply(spectra, first, begin, gain, signal, noise, weights, power):
    count, bins = gain.shape
    zero = np.float32(0)
    whole = np.empty(bins, np.float32)
    for i in range(count):
        row, g, s, n = spectra[begin + i], gain[i], signal[i], noise[i]
        for h in range(bins):
            share = s[h] * s[h] / (s[h] * s[h] + n[h] * n[h] + _TINY)
            whole[h] = g[h] * g[h] * share
        for h in range(bins):
            raised = exp_below(power * log_of(whole[h]))
            whole[h] = zero if whole[h] < _SMALLEST else raised * weights[h]
        row[: 2 * first] = 0
        row[2 * (first + bins) :] = 0
        band = row[2 * first : 2 * (first + bins)]
        for h in range(bins):
            band[2 * h] *= whole[h]
            band[2 * h + 1] *= whole[h]
