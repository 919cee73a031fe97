"""Random mixtures of one voice and one noise for training, drawn by counter: the same on every machine."""

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
    """Batches of mixtures, each of a stretch of a voice and one of a noise, with what each of the two is alone.

    Of an item, Philox-4x32-10 with key = seed and counter = (step, item, group, 0) draws: in group 0 the voice, its
    first sample and the ratio of the two, in group 1 the noise and its first sample. Every source of a kind is equally
    likely, and so is every stretch of a source, whose recordings are laid end to end: a stretch may span a join.

    A batch is magnitudes of short-time spectra under a periodic Hann window, frame n centred on sample n * hop: of
    the mixtures (batch, frames, bins), of the two parts (batch, frames, bins, 2), voice first; and (batch, 2) which
    source each is, voices being numbered from 0 and noises after them. An item's mixture has an RMS of 1.
    Iteration yields the batches of steps 0, 1, 2 and so on; see `BatchStream`.

    Args:
        voices, noises: recordings (T,), float, at `rate`, of each source by name.
        rate: samples per second. seconds: of a mixture.
        n_fft, hop: of the spectra, in samples.
        snr: the least and the largest ratio of voice to noise, dB; the ratio of an item is uniform between them.
        batch: items. seed: 0 to 2**64 - 1.

    Raises UserError where there is no voice or no noise, a source is shorter than a mixture, silent or not finite, or a
    setting is out of range.

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
            raise UserError(f"snr is {snr}; it must be the least and the largest ratio in dB, such as -5 and 5")
        if not (math.isfinite(seconds) and seconds * rate >= n_fft):
            raise UserError(f"mixtures of {seconds} s are shorter than a window of {n_fft} samples; make them longer")
        self.samples, self.n_fft, self.hop = round(seconds * rate), n_fft, hop
        self.batch, self.seed, self.snr, self.rate = int(batch), int(seed), (float(snr[0]), float(snr[1])), rate
        self.voices, self.noises = list(voices), list(noises)
        self._digest = hashlib.sha256()
        self._groups = [self._laid_out("voice", voices), self._laid_out("noise", noises)]

    @property
    def bins(self) -> int:
        return self.n_fft // 2 + 1

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mixtures, parts and sources of a step's items, 0 <= step < 2**32; see above."""
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
        """The samples of a step's items, (batch, 2, samples), voice and noise; and their sources, (batch, 2)."""
        item = torch.arange(self.batch) if items is None else torch.arange(items.start, items.stop)
        found, sources = [], []
        for group, first in ((_VOICE, 0), (_NOISE, len(self.voices))):
            which, where, *_ = words(self.seed, step, item, group, 0)
            number, starts = self._groups[group].drawn(which, where)
            sources.append(first + number)
            found.append(self._groups[group].at(starts, self.samples))
        voice, noise = (part / part.square().mean(1, keepdim=True).sqrt().clamp_min(1e-12) for part in found)
        least, largest = self.snr
        ratio = least + (largest - least) * words(self.seed, step, item, _VOICE, 0)[2].double() / 2**32
        gain = (10 ** (-ratio / 20)).float().to(noise.device)[:, None]
        both = torch.stack([voice, gain * noise], dim=1)
        level = both.sum(1).square().mean(1).sqrt().clamp_min(1e-12)
        return both / level[:, None, None], torch.stack(sources, dim=1).to(both.device)

    def to(self, device: torch.device | str) -> "MixtureSampler":
        """This sampler, its recordings on `device`, where it makes its batches from now on."""
        for group in self._groups:
            group.samples = group.samples.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Plain values that decide every batch, and SHA-256 of the recordings."""
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

    def _laid_out(self, kind: str, sources: Mapping[str, Sequence[ArrayLike]]) -> "_Group":
        if not sources:
            raise UserError(f"no {kind} was given; give recordings of one source or more")
        joined = []
        for name, recordings in sources.items():
            samples = np.concatenate([np.zeros(0, np.float32), *(np.asarray(r, np.float32) for r in recordings)])
            if len(samples) < self.samples:
                raise UserError(
                    f"{kind} {name}: has {len(samples) / self.rate:.2f} s and a mixture {self.samples / self.rate:g}; "
                    "give more of it, or make mixtures shorter"
                )
            if not np.isfinite(samples).all() or not samples.any():
                raise UserError(f"{kind} {name}: is silent, or has NaN or infinite samples; repair it or leave it out")
            self._digest.update(f"{kind} {name} {len(samples)}".encode() + samples.tobytes())
            joined.append(samples)
        return _Group(joined, self.samples)


class _Group:
    """Sources end to end, each with its recordings end to end."""

    def __init__(self, sources: list[np.ndarray], length: int) -> None:
        lengths = torch.tensor([len(source) for source in sources])
        self.samples = torch.from_numpy(np.concatenate(sources))
        self._begin, self._starts = lengths.cumsum(0) - lengths, lengths - length + 1

    def drawn(self, which: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
        """The numbers of the sources that random words choose, and the first samples of stretches of them."""
        number = (which * len(self._begin)) >> 32
        # A source may have 2^32 samples and more: words have 32 bits, and products with them must fit into 63.
        return number, self._begin[number] + ((first * self._starts[number].clamp(max=2**31)) >> 32)

    def at(self, starts: Tensor, length: int) -> Tensor:
        """Stretches (items, length) from the first samples on."""
        within = torch.arange(length, device=self.samples.device)
        return self.samples[starts.to(self.samples.device)[:, None] + within]
