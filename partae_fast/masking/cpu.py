"""CPU kernel of the mask; `mask` has the formula."""

import numpy as np
from numpy.typing import NDArray

from ..kernels._cpu.jit import kernel
from ..kernels._cpu.threads import next_unit, spread

TILE = 64  # frames in a work unit
OPERATIONS = 50  # approximate operations for a gain, without smoothing


@kernel
def _gain(counters, out, foreground, background, magnitudes, mean_square, root, settings, reach):
    frames, bins = out.shape[1], out.shape[2]
    exponent, weight, noise, gate, bypass = settings
    one, zero, tiny = np.float32(1), np.float32(0), np.float32(np.finfo(np.float32).tiny)
    tiles = (frames + TILE - 1) // TILE
    sums = np.empty(bins + 2 * reach, np.float32)
    # Separate arrays, because Numba does not know that the rows of one array are contiguous.
    f, b = np.zeros(bins, np.float32), np.zeros(bins, np.float32)
    v, power = np.zeros(bins, np.float32), np.zeros(bins, np.float32)
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // tiles
        begin = (unit % tiles) * TILE
        for n in range(begin, min(begin + TILE, frames)):
            gains = out[item, n]
            _mean(f, sums, foreground[item], n, reach, False)
            if weight > 0:
                _mean(b, sums, background[item], n, reach, False)
            if exponent == 1:
                for h in range(bins):
                    total = f[h] + weight * b[h] + noise * root[h]
                    gains[h] = f[h] / (one if total == 0 else total)
            else:
                for h in range(bins):
                    # Scaled by the largest, because the powers could overflow float32.
                    largest = f[h] if f[h] > b[h] else b[h]
                    largest = root[h] if noise > 0 and root[h] > largest else largest
                    largest = one if largest == 0 else largest
                    f[h] /= largest
                    b[h] /= largest
                    v[h] = root[h] / largest
                _raise(f, exponent)
                _raise(b, exponent)
                _raise(v, exponent)
                for h in range(bins):
                    total = f[h] + weight * b[h] + (noise * v[h] if noise > 0 else zero)
                    gains[h] = f[h] / (one if total == 0 else total)
            if gate > 0 or bypass > 0:
                _mean(power, sums, magnitudes[item], n, reach, True)
                for h in range(bins):
                    share = mean_square[h] / (tiny if power[h] < tiny else power[h])
                    gate_gain = one - gate * share
                    gains[h] *= zero if gate_gain < 0 else gate_gain
                if bypass > 0:
                    for h in range(bins):
                        share = mean_square[h] / (tiny if power[h] < tiny else power[h])
                        bypass_gain = one - bypass * share if share > 0 else zero
                        gains[h] = bypass_gain if bypass_gain > gains[h] else gains[h]
        unit = next_unit(counters, unit)


@kernel
def _mean(mean, sums, values, n, reach, squared):
    """Write the means of max(values, 0), or of values**2, over the frames and bins within `reach` of (n, h)."""
    frames, bins = values.shape
    middle = sums[reach : reach + bins]
    middle[:] = 0
    for m in range(n - reach, n + reach + 1):
        row = values[min(max(m, 0), frames - 1)]
        if squared:
            for h in range(bins):
                middle[h] += row[h] * row[h]
        else:
            for h in range(bins):
                middle[h] += np.float32(0) if row[h] < 0 else row[h]  # keeps NaN
    sums[:reach] = middle[0]
    sums[reach + bins :] = middle[bins - 1]
    mean[:] = 0
    for i in range(2 * reach + 1):
        shifted = sums[i : i + bins]
        for h in range(bins):
            mean[h] += shifted[h]
    share = np.float32(1 / (2 * reach + 1) ** 2)
    for h in range(bins):
        mean[h] *= share


@kernel
def _raise(values, exponent):
    """Raise the values to the power `exponent`, in place."""
    if exponent == 2:
        for h in range(values.size):
            values[h] *= values[h]
    else:
        for h in range(values.size):
            values[h] **= exponent


def gain(
    foreground: NDArray[np.float32],
    background: NDArray[np.float32],
    magnitudes: NDArray[np.float32],
    mean_square: NDArray[np.float32],
    settings: tuple[float, ...],
    smoothing: int,
) -> NDArray[np.float32]:
    """Return the gains (B, N, H) for F, B and X (B, N, H) and V^2 (H,), all contiguous.

    `settings` are e, b, n, g and p of `Mask`. B is not read if b is 0, and X is not read if g and p are 0.
    """
    out = np.empty_like(foreground)
    items, frames, _ = out.shape
    units = items * (-(-frames // TILE))
    inputs = (foreground, background, magnitudes, mean_square, np.sqrt(mean_square))
    settings32 = tuple(np.float32(value) for value in settings)
    spread(_gain, units, out.size * (OPERATIONS + 3 * smoothing), out, *inputs, settings32, smoothing // 2)
    return out
