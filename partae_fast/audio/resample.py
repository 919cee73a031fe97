"""Change of sample rate by soxr, of a whole recording and of a stream; both give the same samples."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

# Samples of all channels that one call of the resampler should give at most. Beyond a ratio of some 1000 it gives more,
# for it takes in some 800 samples a channel before it gives any.
LONGEST = 2**20


def resample(audio: NDArray[np.floating], rate: int, wanted: int) -> NDArray[np.float32]:
    """Audio (T,) or (T, channels) at `rate` Hz -> float32 at `wanted` Hz, about T * wanted / rate long."""
    import soxr

    audio = np.ascontiguousarray(audio, np.float32)
    return audio if rate == wanted else soxr.resample(audio, rate, wanted)


def resample_blocks(
    blocks: Iterable[NDArray[np.float32]], rate: int, wanted: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Blocks (t, channels) at `rate` Hz -> blocks at `wanted` Hz, together `resample` of the whole.

    How they are cut changes no sample. Where the rate rises they go in in parts, so that what comes out stays short.
    """
    if rate == wanted:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
    size = max(1, LONGEST * rate // (wanted * channels))
    for block in blocks:
        for start in range(0, len(block), size):
            yield stream.resample_chunk(np.ascontiguousarray(block[start : start + size]))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
