"""The models and methods that are compared, and the training of each model."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from ...systems import dae30, embedding, snmf
from ...systems.mixing import MixtureSettings
from ...training.options import TrainingOptions
from .data import Recordings
from .scores import VoiceEstimator, cluster_estimator, denoising_estimator

SNMF, DAE = "SNMF", "DAE-30"
SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS = "SCE, clusters", "SCE+MI, clusters", "SCE+MI, masks"
DC_CLUSTERS, DC_MASKS = "DC+MI, clusters", "DC+MI, masks"
METHODS = (SNMF, DAE, SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS, DC_CLUSTERS, DC_MASKS)

MODELS = ("snmf", "dae-30", "sce", "sce-mi", "dc-mi")

_DAE_DIVISOR = 2  # DAE-30 takes half the steps of the embedding models, because a step takes about 20 times as long


@dataclass(frozen=True)
class Hyperparameters:
    """Sizes of the networks, batches and learning rates; the defaults are the paper's.

    Attributes:
        layers, hidden: LSTM layers, and units of each in either direction.
        dimensions: of an embedding.
        filters, patch, dae_batch, dae_rate: of DAE-30: filters per layer, width of a patch (0 for the whole
            spectrogram), items per batch, learning rate.
        bases, iterations: of sparse NMF.
        snmf_frames: training frames of sparse NMF of either kind, at most: those of 5000 mixtures of 2 s in the
            authors' program.
        batch, learning_rate: of the embedding models.
    """

    layers: int = 4
    hidden: int = 250
    dimensions: int = 10
    filters: int = 128
    patch: int = 0
    dae_batch: int = 32
    bases: int = 1000
    iterations: int = 100
    snmf_frames: int = 390_625
    batch: int = 32
    learning_rate: float = 1e-3
    dae_rate: float = 5e-5

    def description(self) -> str:
        """Return the values as one line."""
        patch = f" on patches of {self.patch} by {self.patch}" if self.patch else ""
        return (
            f"{self.layers} bidirectional LSTM layers of {2 * self.hidden} units, embeddings of {self.dimensions}, "
            f"Adam at {self.learning_rate:g}, {self.batch} mixtures per batch; DAE-30 of {self.filters} "
            f"filters{patch}, Nesterov Adam at {self.dae_rate:g}, {self.dae_batch} per batch; {self.bases} bases per "
            f"kind of source, learned from at most {self.snmf_frames} loud frames of each."
        )


PAPER = Hyperparameters()
SMALL = Hyperparameters(
    layers=2,
    hidden=50,
    filters=16,
    patch=64,
    dae_batch=4,
    bases=60,
    batch=16,
    learning_rate=3e-3,
    dae_rate=1e-3,
    snmf_frames=20_000,
)


def train(
    name: str,
    recordings: Recordings,
    mixing: MixtureSettings,
    hyperparameters: Hyperparameters,
    steps: int,
    options: TrainingOptions,
) -> Any:
    """Train a model of `MODELS`.

    Args:
        name: of the model.
        recordings: with the voices and noises for training.
        mixing: of the mixtures.
        hyperparameters: see `Hyperparameters`.
        steps: of the embedding models; see `steps_of`.
        options: seed, backend, device and progress.
    """
    h = hyperparameters
    voices, noises = recordings.voices, recordings.noises
    common = {key: getattr(mixing, key) for key in ("rate", "n_fft", "hop", "seconds", "snr_low", "snr_high")}
    if name == "snmf":
        settings = snmf.Settings(**common, bases=h.bases, frames=h.snmf_frames)
        snmf_options = TrainingOptions(
            steps=h.iterations, seed=options.seed, device=options.device, backend=options.backend
        )
        return snmf.fit_sounds(voices, noises, settings, snmf_options)
    options = replace(
        options, steps=steps_of(name, steps), learning_rate=h.dae_rate if name == "dae-30" else h.learning_rate
    )
    if name == "dae-30":
        settings = dae30.Settings(**common, batch=h.dae_batch, filters=h.filters, patch=h.patch)
        return dae30.fit_sampler(settings.sampler(voices, noises, options.seed), settings, options)
    settings = embedding.Settings(
        **common, batch=h.batch, objective=name, layers=h.layers, hidden=h.hidden, dimensions=h.dimensions
    )
    return embedding.fit_sampler(settings.sampler(voices, noises, options.seed), settings, options)


def steps_of(name: str, steps: int) -> int:
    """Return the steps of a model, given those of the embedding models."""
    return max(1, steps // _DAE_DIVISOR) if name == "dae-30" else steps


def estimators_of(models: dict[str, Any]) -> dict[str, VoiceEstimator]:
    """Return an estimator for each of `METHODS`, from trained models by name."""
    kinds: dict[str, tuple[Callable[[Any], VoiceEstimator], str]] = {
        SNMF: (denoising_estimator, "snmf"),
        DAE: (denoising_estimator, "dae-30"),
        SCE_CLUSTERS: (cluster_estimator, "sce"),
        SCE_MI_CLUSTERS: (cluster_estimator, "sce-mi"),
        SCE_MI_MASKS: (denoising_estimator, "sce-mi"),
        DC_CLUSTERS: (cluster_estimator, "dc-mi"),
        DC_MASKS: (denoising_estimator, "dc-mi"),
    }
    return {method: make(models[name]) for method, (make, name) in kinds.items()}
