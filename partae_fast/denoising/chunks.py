"""A stream of samples taken through a short-time Fourier transform and back, so many frames at a time.

A chunk starts on a multiple of the pool and comes with as many frames on either side as can change it, so that it gets
the values that one pass over the recording would give it. There is a chunk to each thread.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from .threads import in_order

# Frames in a chunk: some 12 s at the default's rate and hop. With fewer, what each chunk costs besides its frames, the
# halo and many small steps in Python, is felt.
CHUNK = 4096
# Beyond so many channels a chunk is shorter, down to so many frames, for all channels are in memory at once.
_FULL_CHANNELS, _LEAST_OF_MANY = 4, 256
WHOLE = 2**40  # frames, more than any recording has

Audio = NDArray[np.float32]


class Chunks:
    """What becomes of spectra is for subclasses to say, in `sums`.

    Args:
        spectrogram: of the samples. channels: that come in. outputs: channels that go out.
        chunk: frames at a time, rounded up to whole pools; fewer where there are many channels.
        pool: frames that chunks begin on multiples of. halo: frames on either side, a multiple of pool.
    """

    def __init__(self, spectrogram: Spectrogram, channels: int, outputs: int, chunk: int, pool: int, halo: int) -> None:
        self.spectrogram, self.channels, self.outputs, self.halo = spectrogram, channels, outputs, halo
        chunk = min(chunk, max(_LEAST_OF_MANY, chunk * _FULL_CHANNELS // max(1, channels, outputs)))
        self.chunk = max(1, -(-chunk // pool)) * pool
        self.seen = 0

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        """What a chunk makes: both sums of its frames, as from `Spectrogram.overlap_add`, and its frames' number.

        Args:
            samples: under the chunk and its halo, (T, channels).
            before: frames of halo before the chunk. count: frames of its own.

        Returns sums (T, outputs) and (T, 1) over the chunk's own frames, and count.
        """
        raise NotImplementedError

    def process(self, blocks: Iterable[Audio]) -> Iterator[Audio]:
        """Blocks (t, channels) -> blocks (t, outputs), together of the same length."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        total = np.zeros((n_fft - hop, self.outputs), np.float32)
        weight = np.zeros((n_fft - hop, 1), np.float32)
        # Counted from half a window before the first sample, where frame 0 begins.
        done, skip = 0, n_fft // 2
        for now, now_weight, count in in_order(self.sums, self._chunks(blocks)):
            now[: n_fft - hop] += total
            now_weight[: n_fft - hop] += weight
            # What later frames cannot reach any more, and no more than came in.
            ready = count * hop
            new = slice(min(skip, ready), min(ready, n_fft // 2 + self.seen - done))
            yield now[new] / now_weight[new]
            skip = max(0, skip - ready)
            done += ready
            total, weight = now[ready:], now_weight[ready:]
        rest = slice(skip, max(skip, n_fft // 2 + self.seen - done))
        yield total[rest] / weight[rest]

    def _chunks(self, blocks: Iterable[Audio]) -> Iterator[tuple[Audio, int, int]]:
        """For each chunk: samples under its frames and halo; frames of halo before it; frames of its own."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        waiting = Fifo(self.channels)
        waiting.push(np.zeros((n_fft // 2, self.channels), np.float32))
        held = np.zeros((0, self.channels), np.float32)
        start = before = 0
        frames: float = math.inf  # not known before the end
        for block in itertools.chain(blocks, [None]):
            if block is None:
                frames = self.spectrogram.frame_count(self.seen)
                after = (frames - 1) * hop + n_fft // 2 - self.seen
                waiting.push(np.zeros((max(0, after), self.channels), np.float32))
            else:
                self.seen += len(block)
                waiting.push(block)
            while start < frames:
                end = int(min(start + self.chunk, frames))
                reach = int(min(end + self.halo, frames))
                wanted = (reach - start + before - 1) * hop + n_fft - len(held)
                if wanted > len(waiting):
                    break
                held = np.concatenate([held, waiting.take(wanted)])
                yield held, before, end - start
                kept = min(self.halo, end)
                held = held[(before + end - start - kept) * hop :]
                start, before = end, kept


class Fifo:
    """Samples (T, channels) that wait: pushed in blocks, taken in any number."""

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
        """The first `count` samples, of at least as many."""
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
