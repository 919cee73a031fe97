"""Training of embedding models on mixtures of voices and noises (Hetherly et al. 2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram
from ..corpora import Sources, sources_in
from ..errors import UserError
from ..mixtures import MixtureSampler
from ..models.embedding import EmbeddingSeparator
from .material import Audio, samples_of, sources_of
from .systems import Given, Run, train

SOURCE = "Hetherly et al. 2018, Deep speech denoising with vector space projections"
_STEPS, _LEARNING_RATE = 20000, 1e-3


@dataclass(frozen=True)
class Mixing:
    """How voices and noises are mixed, and how the mixtures are heard.

    rate: Hz. n_fft, hop: samples of a window and from one to the next; the authors' program has a hop of 128.
    seconds: of a mixture. snr_low, snr_high: dB, the least and the largest ratio of voice to noise.
    batch: mixtures. folds: of an UrbanSound8K tree, those that are trained on, joined by "-"; "" for all.
    """

    rate: int = 10000
    n_fft: int = 512
    hop: int = 256
    seconds: float = 2.0
    snr_low: float = -5.0
    snr_high: float = 5.0
    batch: int = 32
    folds: str = ""

    @property
    def spectrogram(self) -> Spectrogram:
        return Spectrogram(rate=self.rate, n_fft=self.n_fft, hop=self.hop, low=0.0, high=self.rate / 2)

    def sampler(
        self,
        voices: Mapping[str, Sequence[NDArray[np.float32]]],
        noises: Mapping[str, Sequence[NDArray[np.float32]]],
        seed: int,
    ) -> MixtureSampler:
        """Mixtures of recordings by source, at `rate`; errors as of `MixtureSampler`."""
        snr = (self.snr_low, self.snr_high)
        return MixtureSampler(voices, noises, self.rate, self.seconds, self.n_fft, self.hop, snr, self.batch, seed)

    def sampler_of(self, given: Given, seed: int) -> MixtureSampler:
        """Mixtures of the speech and the noise that were given."""
        folds = None
        if self.folds:
            if not all(part.isdecimal() for part in self.folds.split("-")):
                raise UserError(f"folds is {self.folds!r}; give numbers joined by -, such as 1-2-3")
            folds = [int(part) for part in self.folds.split("-")]
        voices = _joined("speech", given.speech, None)
        return self.sampler(_heard(voices, self.rate), _heard(_joined("noise", given.noise, folds), self.rate), seed)


@dataclass(frozen=True)
class Settings(Mixing):
    """The model's settings, see `partae_fast.models.embedding.EmbeddingSeparator`, and those of mixing.

    objective: sce, sce-mi or dc-mi. layers: of LSTM. hidden: units of each in either direction. dimensions: of an
    embedding. alpha: weight of the first loss, from 0 to 1; below 0 for the paper's. affinity: squared or norm.
    inference: mask, cluster, or "" for the mask where there is one.
    rate: Hz. n_fft, hop: samples of a window and from one to the next; the authors' program has a hop of 128.
    seconds: of a mixture. snr_low, snr_high: dB, the least and the largest ratio of voice to noise.
    batch: mixtures. folds: of an UrbanSound8K tree, those that are trained on, joined by "-"; "" for all.
    """

    objective: str = "sce-mi"
    layers: int = 4
    hidden: int = 250
    dimensions: int = 10
    alpha: float = -1.0
    affinity: str = "squared"
    inference: str = ""


def fit(given: Given, settings: Settings, run: Run) -> EmbeddingSeparator:
    """Train an embedding model on mixtures of speech and noise, by source; see `fit_system`."""
    sampler = settings.sampler_of(given, run.seed)
    return fit_sampler(sampler, settings, run)


def fit_sampler(sampler: MixtureSampler, settings: Settings, run: Run) -> EmbeddingSeparator:
    """The same on a sampler's mixtures."""
    model = EmbeddingSeparator(
        settings.objective,
        bins=sampler.bins,
        voices=len(sampler.voices),
        noises=len(sampler.noises),
        layers=settings.layers,
        hidden=settings.hidden,
        dimensions=settings.dimensions,
        alpha=None if settings.alpha < 0 else settings.alpha,
        affinity=settings.affinity,
        inference=settings.inference or None,
        seed=run.seed,
    )
    model.spectrogram = settings.spectrogram
    return train(model, sampler, run, SOURCE, _STEPS, learning_rate=_LEARNING_RATE)


def _joined(kind: str, given: Sequence[Any], folds: list[int] | None) -> dict[str, list[Audio]]:
    """Files by source of folders, files (a source each) and pairs of samples and rate."""
    found: dict[str, list[Audio]] = {}
    for number, item in enumerate(given):
        if isinstance(item, tuple):
            found[f"{kind} {number}"] = [item]
            continue
        its: Sources = sources_in(item, folds) if Path(item).is_dir() else {Path(item).stem: [Path(item)]}
        for name, files in its.items():
            found.setdefault(name, []).extend(files)
    return found


def _heard(sources: Mapping[str, Sequence[Audio]], rate: int) -> dict[str, list[NDArray[np.float32]]]:
    """Each source's recordings at `rate`, their channels one after another."""
    return {
        name: [channel for source in sources_of("recording", audio) for channel in samples_of(source, rate).channels]
        for name, audio in sources.items()
    }
