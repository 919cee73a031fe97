"""Training of embedding models on mixtures (Hetherly et al. 2018)."""

from dataclasses import dataclass

from ..models.embedding import EmbeddingSeparator
from ..sampling.mixtures import MixtureSampler
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .mixing import SOURCE, MixtureSettings
from .registry import System

_STEPS, _LEARNING_RATE = 20000, 1e-3


@dataclass(frozen=True)
class Settings(MixtureSettings):
    """Settings of an embedding model and of the mixtures.

    The model is a `partae_fast.models.embedding.EmbeddingSeparator`.
    """

    objective: str = setting("sce-mi", "training objective: sce, sce-mi or dc-mi")
    layers: int = setting(4, "LSTM layers")
    hidden: int = setting(250, "units of an LSTM layer in each direction")
    dimensions: int = setting(10, "dimensions of an embedding")
    alpha: float = setting(-1.0, "weight of the embedding loss, 0 to 1; below 0 for the value of the paper")
    affinity: str = setting("squared", "form of the affinity loss: squared or norm")
    scaling: str = setting("unit", "scaling of the input over a recording: unit (from 0 to 1) or standard")
    inference: str = setting("", "separate by mask or cluster (default: mask if the model has one)")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> EmbeddingSeparator:
    """Train an embedding model on mixtures of speech and noise."""
    return fit_sampler(settings.sampler(*settings.sounds(material), options.seed), settings, options)


def fit_sampler(sampler: MixtureSampler, settings: Settings, options: TrainingOptions) -> EmbeddingSeparator:
    """Train an embedding model on the mixtures of a sampler."""
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
        seed=options.seed,
        scaling=settings.scaling,
    )
    model.spectrogram = settings.spectrogram
    return train(model, sampler, options, SOURCE, _STEPS, learning_rate=_LEARNING_RATE)


SYSTEMS = tuple(
    System(name, SOURCE, Settings, fit, ("speech", "noise"), presets={"objective": name})
    for name in ("sce", "sce-mi", "dc-mi")
)
