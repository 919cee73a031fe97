"""Continue a stream of samples beyond its ends, and remove an offset that would leak into the band of a spectrogram.

A Hann window spreads an offset over the first two bins. Some recorders have an offset of 30 times the noise, so that
without this nearly all energy of a band that starts at bin 1 would be the offset.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from .spectrogram import Spectrogram

Audio = NDArray[np.float32]

# Windows of the spectrogram in the moving average: bin 1 is a zero of its response, and beyond it the response of two
# averages is below 0.6 %.
_WINDOWS = 4


def mirrored(blocks: Iterable[Audio], count: int, fade: Audio | None = None) -> Iterator[Audio]:
    """Yield a stream of blocks (t, channels) with `count` samples of its mirror image before and after it.

    `fade` (count, 1) is multiplied to the first of them, and reversed to the last. An empty stream stays empty.
    """
    stream, first, length = iter(blocks), [], 0
    for block in stream:
        first.append(block)
        length += len(block)
        if length > count:
            break
    if not length:
        return
    start = np.concatenate(first)
    fade = np.ones((count, 1), np.float32) if fade is None else fade
    yield fade * np.pad(start, ((count, 0), (0, 0)), mode="reflect")[:count]
    yield start
    last = start[-count - 1 :]
    for block in stream:
        yield block
        last = np.concatenate([last, block])[-count - 1 :]
    yield fade[::-1] * np.pad(last, ((0, count), (0, 0)), mode="reflect")[len(last) :]


def offset_window(spectrogram: Spectrogram) -> int:
    """Return the samples of the moving average that removes an offset, or 0 where none can leak into the band.

    A periodic Hann window has an offset in bins 0 and 1 only. In bin 0 an offset is part of the band.
    """
    leaks = spectrogram.first == 1 or (spectrogram.first > 1 and spectrogram.window != "hann")
    return _WINDOWS * spectrogram.n_fft if leaks else 0


def without_offset(blocks: Iterable[Audio], window: int) -> Iterator[Audio]:
    """Yield a stream minus the moving average of its moving average, each over `window` samples; 0 changes nothing.

    The average is centred, so phases are kept. The sizes of the blocks affect the samples by rounding errors only.
    """
    if not window:
        yield from blocks
        return
    pending: Audio | None = None
    reach = window - 1  # samples on either side that two averages use
    for block in mirrored(blocks, reach):
        pending = block if pending is None else np.concatenate([pending, block])
        if len(pending) <= 2 * reach:
            continue
        average = _moving_average(_moving_average(pending.astype(np.float64), window), window)
        yield (pending[reach : len(pending) - reach] - average).astype(np.float32)
        pending = pending[len(pending) - 2 * reach :]


def centred(samples: Audio, window: int) -> Audio:
    """Return samples (T,) as `without_offset` returns a stream."""
    return np.concatenate([samples[:0, None], *without_offset([samples[:, None]], window)])[:, 0] if window else samples


def _moving_average(samples: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Return the means of all stretches of `window` samples, (T - window + 1, channels)."""
    sums = np.cumsum(samples, axis=0)
    sums[window:] -= sums[:-window].copy()
    return sums[window - 1 :] / window
