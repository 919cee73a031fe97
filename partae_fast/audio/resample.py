"""Resample recordings and streams with soxr; both give the same samples."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

# Samples, over all channels, that one call of the resampler returns at most. For ratios above about 1000 it returns
# more, because it buffers about 800 samples per channel before it returns any.
LONGEST = 2**20


def resample(audio: NDArray[np.floating], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Resample audio (T,) or (T, channels) from `rate` to `new_rate` Hz; return about T * new_rate / rate samples."""
    import soxr

    audio = np.ascontiguousarray(audio, np.float32)
    return audio if rate == new_rate else soxr.resample(audio, rate, new_rate)


def resample_blocks(
    blocks: Iterable[NDArray[np.float32]], rate: int, new_rate: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Resample a stream of blocks (t, channels) from `rate` to `new_rate` Hz.

    The samples are those of `resample`, for any sizes of the blocks. Blocks are split if the rate rises, so that the
    resampled ones stay short.
    """
    if rate == new_rate:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32")
    size = max(1, LONGEST * rate // (new_rate * channels))
    for block in blocks:
        for start in range(0, len(block), size):
            yield stream.resample_chunk(np.ascontiguousarray(block[start : start + size]))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
