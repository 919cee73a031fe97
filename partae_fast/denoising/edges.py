"""Continue a recording beyond both ends, so that neither end is a step for the spectrogram and the resampler.

A recording that is padded with zeros starts and ends with a step as high as its first and last sample. A step has
energy at all frequencies, so an offset or rumble below the model's band would be a click at both ends of the output.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio.offset import mirrored
from ..audio.spectrogram import Spectrogram

Audio = NDArray[np.float32]

# At the lower of the two rates: the resampler's impulse response has decayed by 120 dB.
_RESAMPLER_SAMPLES = 256


class Edges:
    """Extend a stream of blocks (t, channels) at both ends by its mirror image, and cut the output to its length.

    The outer half of an extension is faded out, because its end would be a step again.

    Args:
        spectrogram: the model's spectrogram.
        rate: sample rate of the stream in Hz.
        pool: extensions are multiples of so many frames, so that recordings at the model's rate keep their frames.
        reach: samples beyond an end that affect the output inside, if they are more than a window of the spectrogram.

    Attributes:
        samples: length of an extension.
    """

    def __init__(self, spectrogram: Spectrogram, rate: int, pool: int = 1, reach: int = 0) -> None:
        inner = max(spectrogram.n_fft, reach)
        if rate != spectrogram.rate:
            inner += -(-_RESAMPLER_SAMPLES * spectrogram.rate // min(rate, spectrogram.rate))
        step = spectrogram.hop * pool
        self.samples = round(-(-2 * inner // step) * step * rate / spectrogram.rate)
        self._length = 0

    def extend(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        """Yield the extended stream; an empty one stays empty."""
        half = self.samples // 2
        fade = np.ones((self.samples, 1), np.float32)
        fade[:half, 0] = np.sin(np.pi / 2 * (np.arange(half) + 0.5) / half) ** 2
        yield from mirrored(self._counted(blocks), self.samples, fade)

    def _counted(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        for block in blocks:
            self._length += len(block)
            yield block

    def cut(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        """Yield the output (..., t, channels) for the recording itself; `blocks` is that for the extended stream."""
        position = -self.samples
        for block in blocks:
            start, end = -min(position, 0), self._length - position
            position += block.shape[-2]
            yield block[..., start : max(start, end), :]
