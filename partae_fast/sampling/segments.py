"""Random segments of the spectrograms of mixtures and of their sources, to train separation.

The sampler keeps audio, which takes a quarter of the memory of its spectrograms, and computes the magnitudes of each
batch on the device that trains.
"""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..kernels.philox import first_word
from .batches import BatchStream

_HANN = "hann"  # the window of `_magnitudes`


class SegmentSampler(BatchStream):
    """Batches of segments; all segments of all excerpts are equally likely.

    Args:
        excerpts: arrays (1 + sources, T) float32 of one rate, with the mixture first. Excerpts shorter than a segment
            are left out.
        spectrogram: a spectrogram with a Hann window and all frequencies.
        frames: frames in a segment.
        batch: segments in a batch.
        seed: seed of the draws, 0 to 2**64 - 1.

    Raises UserError if no excerpt is long enough, and for another spectrogram.
    """

    def __init__(
        self, excerpts: Sequence[NDArray[np.float32]], spectrogram: Spectrogram, frames: int, batch: int, seed: int
    ) -> None:
        if batch < 1:
            raise UserError(f"batch is {batch}; it must be at least 1")
        if spectrogram.window != _HANN or spectrogram.bins != spectrogram.n_fft // 2 + 1:
            raise UserError(
                f"spectrogram has window {spectrogram.window!r} and {spectrogram.bins} bins; segments need window "
                f"'hann' and all {spectrogram.n_fft // 2 + 1} bins"
            )
        counts = [spectrogram.frame_count(excerpt.shape[1]) for excerpt in excerpts]
        if max(counts, default=0) < frames:
            raise UserError(
                f"the longest excerpt has {max(counts, default=0)} frames, but a segment has {frames}; pass longer "
                "songs"
            )
        kept = [(excerpt, count) for excerpt, count in zip(excerpts, counts, strict=True) if count >= frames]
        self.spectrogram, self.frames, self.batch, self.seed = spectrogram, frames, batch, seed
        self._counts = [count for _, count in kept]
        padded = [self._padded(excerpt, count) for excerpt, count in kept]
        self._first = np.cumsum([0, *(samples.shape[1] for samples in padded[:-1])])
        self._samples = torch.from_numpy(np.concatenate(padded, axis=1))
        # Numbers of the first segments of each excerpt, counted over all excerpts, and the total.
        self._first_segments = np.cumsum([0, *(count - frames + 1 for count in self._counts)])

    @property
    def segments(self) -> int:
        """Number of segments that do not overlap."""
        return sum(count // self.frames for count in self._counts)

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor]:
        """Return the segments of a step's mixtures (B, frames, bins) and of their sources (B, sources, frames, bins).

        With `items`, only these items are made.
        """
        item = np.arange(self.batch)[slice(None) if items is None else slice(items.start, items.stop)]
        word = first_word(self.seed, np.array(step, np.uint64), item.astype(np.uint64), np.array(0, np.uint64))
        segment = (word * np.uint64(self._first_segments[-1]) >> np.uint64(32)).astype(np.int64)
        excerpt = np.searchsorted(self._first_segments, segment, side="right") - 1
        return self._magnitudes(excerpt, segment - self._first_segments[excerpt])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of all adjacent segments, each once; the last batch may be smaller."""
        starts = [(i, n * self.frames) for i, count in enumerate(self._counts) for n in range(count // self.frames)]
        for first in range(0, len(starts), self.batch):
            excerpt, frame = np.array(starts[first : first + self.batch]).T
            yield self._magnitudes(excerpt, frame)

    def to(self, device: torch.device | str) -> "SegmentSampler":
        """Move the audio to `device`, where batches are made from then on; return this sampler."""
        self._samples = self._samples.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches, and the SHA-256 of the audio."""
        digest = hashlib.sha256(np.array(self._counts).tobytes())
        digest.update(np.ascontiguousarray(self._samples.cpu().numpy()).data)
        return {
            "seed": self.seed,
            "frames": self.frames,
            "batch": self.batch,
            "spectrogram": self.spectrogram.to_dict(),
            "recordings_sha256": digest.hexdigest(),
        }

    def _padded(self, excerpt: NDArray[np.float32], count: int) -> NDArray[np.float32]:
        """Return the excerpt with zeros before and after it, as many as its first and last frames need."""
        n_fft, length = self.spectrogram.n_fft, excerpt.shape[1]
        after = (count - 1) * self.spectrogram.hop + n_fft - n_fft // 2 - length
        return np.pad(np.asarray(excerpt, np.float32), ((0, 0), (n_fft // 2, after)))

    def _magnitudes(self, excerpt: NDArray[np.int64], frame: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Return the magnitudes of the segments that start at the given frames of the given excerpts."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        span = (self.frames - 1) * hop + n_fft
        starts = (self._first[excerpt] + frame * hop).tolist()
        samples = torch.stack([self._samples[:, start : start + span] for start in starts])
        window = torch.hann_window(n_fft, device=samples.device)
        spectra = torch.fft.rfft(samples.unfold(2, n_fft, hop) * window)
        magnitudes = spectra.abs() * self.spectrogram.gain
        return magnitudes[:, 0], magnitudes[:, 1:]
