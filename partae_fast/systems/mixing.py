"""Voices and noises by source, mixed for training (Hetherly et al. 2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..sampling.corpora import sources_in
from ..sampling.mixtures import MixtureSampler
from ..training.material import Audio, Material, samples_of, sources_of
from ..training.options import option as setting

SOURCE = "Hetherly et al. 2018, Deep speech denoising with vector space projections"
Sounds = dict[str, list[NDArray[np.float32]]]  # recordings (T,) by source


@dataclass(frozen=True)
class MixtureSettings:
    """How voices and noises are mixed, and the spectrogram of the mixtures."""

    rate: int = setting(10000, "sample rate that the model works at, Hz")
    n_fft: int = setting(512, "samples in a window")
    hop: int = setting(256, "samples from one window to the next (the authors' program: 128)")
    seconds: float = setting(2.0, "of a mixture")
    snr_low: float = setting(-5.0, "the least ratio of voice to noise, dB")
    snr_high: float = setting(5.0, "the largest ratio of voice to noise, dB")
    batch: int = setting(32, "mixtures in a batch")
    folds: str = setting("", "of an UrbanSound8K tree, the folds that are trained on, joined by - (default: all)")

    @property
    def spectrogram(self) -> Spectrogram:
        return Spectrogram(rate=self.rate, n_fft=self.n_fft, hop=self.hop, low=0.0, high=self.rate / 2)

    def sampler(self, voices: Sounds, noises: Sounds, seed: int) -> MixtureSampler:
        """Mixtures of recordings by source, at `rate`; errors as of `MixtureSampler`."""
        snr = (self.snr_low, self.snr_high)
        return MixtureSampler(voices, noises, self.rate, self.seconds, self.n_fft, self.hop, snr, self.batch, seed)

    def sounds(self, material: Material) -> tuple[Sounds, Sounds]:
        """The speech and the noise of the material, by source, at `rate`."""
        folds = None
        if self.folds:
            if not all(part.isdecimal() for part in self.folds.split("-")):
                raise UserError(f"folds is {self.folds!r}; give numbers joined by -, such as 1-2-3")
            folds = [int(part) for part in self.folds.split("-")]
        voices = _joined("speech", material.speech, None)
        return _read(voices, self.rate), _read(_joined("noise", material.noise, folds), self.rate)


def _joined(kind: str, items: Sequence[Any], folds: list[int] | None) -> dict[str, list[Audio]]:
    """Files by source of folders, files (a source each) and pairs of samples and rate."""
    found: dict[str, list[Audio]] = {}
    for number, item in enumerate(items):
        if isinstance(item, tuple):
            found[f"{kind} {number}"] = [item]
            continue
        its = sources_in(item, folds) if Path(item).is_dir() else {Path(item).stem: [Path(item)]}
        for name, files in its.items():
            found.setdefault(name, []).extend(files)
    return found


def _read(sources: Mapping[str, Sequence[Audio]], rate: int) -> Sounds:
    """Each source's recordings at `rate`, their channels one after another."""
    return {
        name: [channel for source in sources_of("recording", audio) for channel in samples_of(source, rate).channels]
        for name, audio in sources.items()
    }
