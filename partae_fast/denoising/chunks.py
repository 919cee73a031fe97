"""Process a stream of samples in chunks of spectrogram frames, with bounded memory.

A chunk starts on a multiple of the pool and has a halo, the frames on either side that affect it, so the result equals
that of one pass over the whole recording.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from .threads import map_in_order

# Frames in a chunk, about 12 s at the default rate and hop. In shorter chunks the overhead of the halo and of Python is
# noticeable.
CHUNK = 4096
# All channels are in memory at once, so chunks of more than _FULL_CHANNELS are shorter, down to _MIN_CHUNK frames.
_FULL_CHANNELS, _MIN_CHUNK = 4, 256
_MOST_VALUES = 2**25  # of a chunk's spectra, which makes chunks of very long windows shorter
ALL_FRAMES = 2**40  # more frames than any recording has

Audio = NDArray[np.float32]


class ChunkProcessor:
    """Base class that splits a stream into chunks and joins the results; subclasses implement `sums`.

    Args:
        spectrogram: spectrogram of the samples.
        channels: channels of the input.
        outputs: channels of the output.
        chunk: frames in a chunk, rounded up to whole pools, and reduced for many channels.
        pool: chunks start on multiples of this number of frames.
        halo: frames on either side that affect a chunk, a multiple of `pool`.
    """

    def __init__(self, spectrogram: Spectrogram, channels: int, outputs: int, chunk: int, pool: int, halo: int) -> None:
        self.spectrogram, self.channels, self.outputs, self.halo = spectrogram, channels, outputs, halo
        chunk = min(chunk, max(_MIN_CHUNK, chunk * _FULL_CHANNELS // max(1, channels, outputs)))
        if chunk < ALL_FRAMES:  # a model that needs all frames gets all of them
            chunk = max(1, min(chunk, _MOST_VALUES // (spectrogram.n_fft // 2 + 1)))
        self.chunk = max(1, -(-chunk // pool)) * pool
        self._samples_in = 0

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        """Process one chunk and return both sums of `Spectrogram.overlap_add`, (T, outputs) and (T, 1), and `count`.

        Args:
            samples: samples of the chunk and its halo, (T, channels).
            before: frames of halo before the chunk.
            count: frames of the chunk; the sums are over these.
        """
        raise NotImplementedError

    def process(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        """Yield the output (t, outputs) for a stream of blocks (t, channels), with as many samples in total."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        total = np.zeros((n_fft - hop, self.outputs), np.float32)
        weight = np.zeros((n_fft - hop, 1), np.float32)
        # Positions are counted from the start of frame 0, half a window before the first sample.
        done, skip = 0, n_fft // 2
        for chunk_total, chunk_weight, count in map_in_order(self.sums, self._chunks(blocks)):
            chunk_total[: n_fft - hop] += total
            chunk_weight[: n_fft - hop] += weight
            # Later frames do not reach the first `ready` samples.
            ready = count * hop
            new = slice(min(skip, ready), min(ready, n_fft // 2 + self._samples_in - done))
            yield chunk_total[new] / chunk_weight[new]
            skip = max(0, skip - ready)
            done += ready
            total, weight = chunk_total[ready:], chunk_weight[ready:]
        rest = slice(skip, max(skip, n_fft // 2 + self._samples_in - done))
        yield total[rest] / weight[rest]

    def _chunks(self, blocks: Iterable[Audio]) -> Iterator[tuple[Audio, int, int]]:
        """Yield the arguments of `sums` for each chunk."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        queue = SampleQueue(self.channels)
        queue.push(np.zeros((n_fft // 2, self.channels), np.float32))
        samples = np.zeros((0, self.channels), np.float32)
        start = before = 0
        frames: float = math.inf  # unknown until the stream ends
        for block in itertools.chain(blocks, [None]):
            if block is None:
                frames = self.spectrogram.frame_count(self._samples_in)
                padding = (frames - 1) * hop + n_fft // 2 - self._samples_in
                queue.push(np.zeros((max(0, padding), self.channels), np.float32))
            else:
                self._samples_in += len(block)
                queue.push(block)
            while start < frames:
                end = int(min(start + self.chunk, frames))
                halo_end = int(min(end + self.halo, frames))
                missing = (halo_end - start + before - 1) * hop + n_fft - len(samples)
                if missing > len(queue):
                    break
                samples = np.concatenate([samples, queue.take(missing)])
                yield samples, before, end - start
                next_before = min(self.halo, end)
                samples = samples[(before + end - start - next_before) * hop :]
                start, before = end, next_before


class SampleQueue:
    """Queue of samples (T, channels): pushed in blocks, taken in any number."""

    def __init__(self, channels: int):
        self._blocks: deque[Audio] = deque()
        self._length = 0
        self._empty = np.zeros((0, channels), np.float32)

    def __len__(self) -> int:
        return self._length

    def push(self, block: Audio) -> None:
        self._blocks.append(block)
        self._length += len(block)

    def take(self, count: int) -> Audio:
        """Remove and return the first `count` samples; the queue must have as many."""
        self._length -= count
        taken = [self._empty]
        while count:
            block = self._blocks.popleft()
            if len(block) > count:
                self._blocks.appendleft(block[count:])
                block = block[:count]
            taken.append(block)
            count -= len(block)
        return np.concatenate(taken)
