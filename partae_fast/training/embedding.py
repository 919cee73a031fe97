"""Training of embedding models on mixtures of voices and noises (Hetherly et al. 2018)."""

from dataclasses import dataclass

from ..mixtures import MixtureSampler
from ..models.embedding import EmbeddingSeparator
from .mixing import SOURCE, Mixing
from .systems import Given, Run, train

_STEPS, _LEARNING_RATE = 20000, 1e-3


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
    return fit_sampler(settings.sampler(*settings.heard(given), run.seed), settings, run)


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
