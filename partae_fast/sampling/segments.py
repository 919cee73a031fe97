"""Random segments of a mixture's spectrogram and, of the same frames, of its sources': batches to learn separation.

What is kept in memory is audio, a quarter of what spectrograms of it would take; the magnitudes of a batch are made
when it is drawn, on the device that trains.
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

_HANN = "hann"  # the window that `_magnitudes` makes


class SegmentSampler(BatchStream):
    """Batches of segments; every segment of every excerpt is equally likely.

    Args:
        excerpts: arrays (1 + sources, T) float32 of one rate, the mixture first. Those shorter than a segment are left
            out.
        spectrogram: with a Hann window and all frequencies, for the segments are those of `Spectrogram.magnitude`.
        frames: in a segment. batch: segments in a batch. seed: of the draws, in [0, 2^64).

    Raises UserError where no excerpt is long enough.
    """

    def __init__(
        self, excerpts: Sequence[NDArray[np.float32]], spectrogram: Spectrogram, frames: int, batch: int, seed: int
    ) -> None:
        if batch < 1:
            raise UserError(f"batch is {batch}; it must be at least 1")
        if spectrogram.window != _HANN or spectrogram.bins != spectrogram.n_fft // 2 + 1:
            raise UserError("segments are of a spectrogram with a Hann window and all of its frequencies")
        counts = [spectrogram.frame_count(excerpt.shape[1]) for excerpt in excerpts]
        if max(counts, default=0) < frames:
            raise UserError(
                f"the longest stretch of a song has {max(counts, default=0)} frames, and a segment {frames}; give "
                "longer songs"
            )
        kept = [(excerpt, count) for excerpt, count in zip(excerpts, counts, strict=True) if count >= frames]
        self.spectrogram, self.frames, self.batch, self.seed = spectrogram, frames, batch, seed
        self._counts = [count for _, count in kept]
        padded = [self._padded(excerpt, count) for excerpt, count in kept]
        self._first = np.cumsum([0, *(samples.shape[1] for samples in padded[:-1])])
        self._samples = torch.from_numpy(np.concatenate(padded, axis=1))
        # Segments of all excerpts, end to end.
        self._before = np.cumsum([0, *(count - frames + 1 for count in self._counts)])

    @property
    def segments(self) -> int:
        """How many there are side by side."""
        return sum(count // self.frames for count in self._counts)

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor]:
        """A step's segments, or some of them: of the mixture (B, frames, bins), of its sources (B, sources, ...)."""
        drawn = np.arange(self.batch)[slice(None) if items is None else slice(items.start, items.stop)]
        word = first_word(self.seed, np.array(step, np.uint64), drawn.astype(np.uint64), np.array(0, np.uint64))
        among = (word * np.uint64(self._before[-1]) >> np.uint64(32)).astype(np.int64)
        excerpt = np.searchsorted(self._before, among, side="right") - 1
        return self._magnitudes(excerpt, among - self._before[excerpt])

    def in_order(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches of all segments that lie side by side, each once; the last may be smaller."""
        places = [(i, n * self.frames) for i, count in enumerate(self._counts) for n in range(count // self.frames)]
        for start in range(0, len(places), self.batch):
            excerpt, frame = np.array(places[start : start + self.batch]).T
            yield self._magnitudes(excerpt, frame)

    def to(self, device: torch.device | str) -> "SegmentSampler":
        """This sampler, its audio moved to `device`; batches are made there from then on."""
        self._samples = self._samples.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """All that decides which batches are drawn, the audio as a SHA-256 of its samples."""
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
        """With silence around it, so that it has all of its frames."""
        n_fft, length = self.spectrogram.n_fft, excerpt.shape[1]
        after = (count - 1) * self.spectrogram.hop + n_fft - n_fft // 2 - length
        return np.pad(np.asarray(excerpt, np.float32), ((0, 0), (n_fft // 2, after)))

    def _magnitudes(self, excerpt: NDArray[np.int64], frame: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """The segments that begin at these frames of these excerpts."""
        n_fft, hop = self.spectrogram.n_fft, self.spectrogram.hop
        span = (self.frames - 1) * hop + n_fft
        starts = (self._first[excerpt] + frame * hop).tolist()
        samples = torch.stack([self._samples[:, start : start + span] for start in starts])
        window = torch.hann_window(n_fft, device=samples.device)
        spectra = torch.fft.rfft(samples.unfold(2, n_fft, hop) * window)
        magnitudes = spectra.abs() * self.spectrogram.gain
        return magnitudes[:, 0], magnitudes[:, 1:]
