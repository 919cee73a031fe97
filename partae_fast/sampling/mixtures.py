"""Random mixtures of a voice and a noise, drawn by a counter-based generator."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..errors import UserError
from ..kernels.philox import words
from .batches import BatchStream

_VOICE, _NOISE = 0, 1  # groups: the third word of a counter


class MixtureSampler(BatchStream):
    """Batches of mixtures of a random stretch of a voice and of a noise, with the voice and the noise alone.

    Philox-4x32-10 with key = seed and counter = (step, item, group, 0) draws the voice, its first sample and the
    signal-to-noise ratio in group 0, and the noise and its first sample in group 1. All sources of a kind are equally
    likely, and so are all stretches of a source. The recordings of a source are joined, and a stretch may span a join.

    A batch has the magnitudes of the mixtures (batch, frames, bins), those of voice and noise
    (batch, frames, bins, 2), and the numbers of both sources (batch, 2); noises are numbered after voices. Spectra have
    a periodic Hann window, and frame n is centred on sample n * hop. Each mixture has an RMS of 1.

    Args:
        voices, noises: recordings (T,), float, at `rate`, of each source, by the source's name.
        rate: sample rate in Hz.
        seconds: duration of a mixture.
        n_fft, hop: window and hop of the spectra, in samples.
        snr: smallest and largest ratio of voice to noise in dB; the ratio of an item is uniform between them.
        batch: items in a batch.
        seed: seed of the draws, 0 to 2**64 - 1.

    Raises UserError if there is no voice or no noise, if a source is silent, not finite or shorter than a mixture, and
    if a setting is out of range.

    Hetherly et al. 2018, section 4.

    >>> voices, noises = {"ann": [np.ones(900)], "bob": [np.ones(900)]}, {"rain": [np.ones(900)]}
    >>> mixture, parts, sources = MixtureSampler(voices, noises, rate=400, batch=3, n_fft=64, hop=32).batch_at(0)
    >>> tuple(mixture.shape), tuple(parts.shape), sources[0].tolist()[1]
    ((3, 26, 33), (3, 26, 33, 2), 2)
    """

    def __init__(
        self,
        voices: Mapping[str, Sequence[ArrayLike]],
        noises: Mapping[str, Sequence[ArrayLike]],
        rate: int = 10000,
        seconds: float = 2.0,
        n_fft: int = 512,
        hop: int = 256,
        snr: tuple[float, float] = (-5.0, 5.0),
        batch: int = 32,
        seed: int = 0,
    ) -> None:
        if batch < 1 or not 0 <= seed < 2**64:
            raise UserError(f"batch is {batch} and seed {seed}; they must be 1 or more, and from 0 to 2**64 - 1")
        if not (all(map(math.isfinite, snr)) and snr[0] <= snr[1]):
            raise UserError(f"snr is {snr}; it must be the smallest and the largest ratio in dB, such as (-5, 5)")
        if not (math.isfinite(seconds) and seconds * rate >= n_fft):
            raise UserError(
                f"seconds is {seconds}; a mixture must be at least as long as a window, {n_fft} samples at {rate} Hz"
            )
        self.samples, self.n_fft, self.hop = round(seconds * rate), n_fft, hop
        self.batch, self.seed, self.snr, self.rate = int(batch), int(seed), (float(snr[0]), float(snr[1])), rate
        self.voices, self.noises = list(voices), list(noises)
        self._digest = hashlib.sha256()
        self._groups = [self._joined("voice", voices), self._joined("noise", noises)]

    @property
    def bins(self) -> int:
        """Bins of the spectra."""
        return self.n_fft // 2 + 1

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return the mixtures, parts and sources of a step, 0 <= step < 2**32, or of the given items of it."""
        if not 0 <= step < 2**32:
            raise UserError(f"step {step} is out of range; steps are numbered from 0 to 2**32 - 1")
        sounds, sources = self.sounds_at(step, items)
        window = torch.hann_window(self.n_fft, device=sounds.device)
        spectra = torch.stft(
            sounds.flatten(0, 1), self.n_fft, self.hop, window=window, pad_mode="constant", return_complex=True
        )
        voice, noise = spectra.transpose(1, 2).unflatten(0, (-1, 2)).unbind(1)
        return (voice + noise).abs(), torch.stack([voice.abs(), noise.abs()], dim=-1), sources

    def sounds_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor]:
        """Return the samples of voice and noise (batch, 2, samples) of a step's items, and their sources (batch, 2)."""
        item = torch.arange(self.batch) if items is None else torch.arange(items.start, items.stop)
        stretches, sources = [], []
        for group, first_number in ((_VOICE, 0), (_NOISE, len(self.voices))):
            source_word, start_word, *_ = words(self.seed, step, item, group, 0)
            number, starts = self._groups[group].draw(source_word, start_word)
            sources.append(first_number + number)
            stretches.append(self._groups[group].stretches(starts, self.samples))
        voice, noise = (part / part.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12) for part in stretches)
        smallest, largest = self.snr
        ratio = smallest + (largest - smallest) * words(self.seed, step, item, _VOICE, 0)[2].double() / 2**32
        gain = (10 ** (-ratio / 20)).float().to(noise.device)[:, None]
        parts = torch.stack([voice, gain * noise], dim=1)
        level = parts.sum(1).square().mean(1).sqrt().clamp_min(1e-12)
        return parts / level[:, None, None], torch.stack(sources, dim=1).to(parts.device)

    def to(self, device: torch.device | str) -> "MixtureSampler":
        """Move the recordings to `device`, where batches are made from then on; return this sampler."""
        for group in self._groups:
            group.samples = group.samples.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches, and the SHA-256 of the recordings."""
        return {
            "voices": self.voices,
            "noises": self.noises,
            "rate": self.rate,
            "samples": self.samples,
            "n_fft": self.n_fft,
            "hop": self.hop,
            "snr": list(self.snr),
            "batch": self.batch,
            "seed": self.seed,
            "recordings_sha256": self._digest.hexdigest(),
        }

    def _joined(self, kind: str, sources: Mapping[str, Sequence[ArrayLike]]) -> "_Group":
        if not sources:
            raise UserError(f"there is no {kind}; pass recordings of at least one source")
        joined = []
        for name, recordings in sources.items():
            samples = np.concatenate([np.zeros(0, np.float32), *(np.asarray(r, np.float32) for r in recordings)])
            if len(samples) < self.samples:
                raise UserError(
                    f"{kind} {name}: has {len(samples) / self.rate:.2f} s, but a mixture has "
                    f"{self.samples / self.rate:g} s; pass more recordings, or make mixtures shorter"
                )
            if not np.isfinite(samples).all() or not samples.any():
                raise UserError(f"{kind} {name}: is silent, or has NaN or infinite samples; repair it or leave it out")
            self._digest.update(f"{kind} {name} {len(samples)}".encode() + samples.tobytes())
            joined.append(samples)
        return _Group(joined, self.samples)


class _Group:
    """Samples of all sources of a kind, one after the other."""

    def __init__(self, sources: list[np.ndarray], length: int) -> None:
        lengths = torch.tensor([len(source) for source in sources])
        self.samples = torch.from_numpy(np.concatenate(sources))
        self._first_samples, self._start_counts = lengths.cumsum(0) - lengths, lengths - length + 1

    def draw(self, source_words: Tensor, start_words: Tensor) -> tuple[Tensor, Tensor]:
        """Return the numbers of the sources that random words select, and the first samples of stretches of them."""
        number = (source_words * len(self._first_samples)) >> 32
        # Products with 32-bit words must fit in 63 bits, but a source may have 2**32 samples or more.
        starts = (start_words * self._start_counts[number].clamp(max=2**31)) >> 32
        return number, self._first_samples[number] + starts

    def stretches(self, starts: Tensor, length: int) -> Tensor:
        """Return the stretches (items, length) that start at `starts`."""
        offsets = torch.arange(length, device=self.samples.device)
        return self.samples[starts.to(self.samples.device)[:, None] + offsets]
