"""Mixtures of voices and noises for training (Hetherly et al. 2018)."""

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
    """Settings of the mixtures of voices and noises, and of their spectrogram."""

    rate: int = setting(10000, "sample rate of the model, Hz")
    n_fft: int = setting(512, "samples in a window")
    hop: int = setting(256, "samples from one window to the next (authors' program: 128)")
    seconds: float = setting(2.0, "duration of a mixture, s")
    snr_low: float = setting(-5.0, "lowest ratio of voice to noise, dB")
    snr_high: float = setting(5.0, "highest ratio of voice to noise, dB")
    batch: int = setting(32, "mixtures in a batch")
    folds: str = setting("", "folds of UrbanSound8K to train on, joined by -, such as 1-2-3 (default: all)")

    @property
    def spectrogram(self) -> Spectrogram:
        return Spectrogram(rate=self.rate, n_fft=self.n_fft, hop=self.hop, low=0.0, high=self.rate / 2)

    def sampler(self, voices: Sounds, noises: Sounds, seed: int) -> MixtureSampler:
        """Return a sampler of mixtures of recordings at `rate`, given by source.

        Raises UserError as `MixtureSampler` does.
        """
        snr = (self.snr_low, self.snr_high)
        return MixtureSampler(voices, noises, self.rate, self.seconds, self.n_fft, self.hop, snr, self.batch, seed)

    def sounds(self, material: Material) -> tuple[Sounds, Sounds]:
        """Read the speech and the noise of the material, by source, at `rate`."""
        folds = None
        if self.folds:
            if not all(part.isdecimal() for part in self.folds.split("-")):
                raise UserError(f"folds is {self.folds!r}; give numbers joined by -, such as 1-2-3")
            folds = [int(part) for part in self.folds.split("-")]
        voices = _group_by_source("speech", material.speech, None)
        return _read(voices, self.rate), _read(_group_by_source("noise", material.noise, folds), self.rate)


def _group_by_source(kind: str, items: Sequence[Any], folds: list[int] | None) -> dict[str, list[Audio]]:
    """Group folders, files and pairs (samples, rate) by source.

    Each file and each pair is a source of its own.
    """
    by_source: dict[str, list[Audio]] = {}
    for number, item in enumerate(items):
        if isinstance(item, tuple):
            by_source[f"{kind} {number}"] = [item]
            continue
        in_item = sources_in(item, folds) if Path(item).is_dir() else {Path(item).stem: [Path(item)]}
        for name, files in in_item.items():
            by_source.setdefault(name, []).extend(files)
    return by_source


def _read(sources: Mapping[str, Sequence[Audio]], rate: int) -> Sounds:
    """Read the recordings of each source at `rate`.

    Channels are used as separate recordings.
    """
    return {
        name: [channel for source in sources_of("recording", audio) for channel in samples_of(source, rate).channels]
        for name, audio in sources.items()
    }
