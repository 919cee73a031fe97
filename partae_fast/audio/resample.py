"""Change of sample rate by soxr, of a whole recording and of a stream; both give the same samples."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def resample(audio: NDArray[np.floating], rate: int, wanted: int) -> NDArray[np.float32]:
    """Audio (T,) or (T, channels) at `rate` Hz -> float32 at `wanted` Hz, about T * wanted / rate long."""
    import soxr

    audio = np.ascontiguousarray(audio, np.float32)
    return audio if rate == wanted else soxr.resample(audio, rate, wanted)


def resample_blocks(
    blocks: Iterable[NDArray[np.float32]], rate: int, wanted: int, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Blocks (t, channels) at `rate` Hz -> blocks at `wanted` Hz, together `resample` of the whole."""
    if rate == wanted:
        yield from blocks
        return
    import soxr

    stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
    for block in blocks:
        yield stream.resample_chunk(np.ascontiguousarray(block))
    yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
