"""The systems that are compared, and how each is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...systems import dae30, embedding, snmf
from ...systems.mixing import MixtureSettings
from ...training.options import TrainingOptions
from .data import Material
from .scores import Method, as_denoised, by_clusters

SNMF, DAE = "SNMF", "DAE-30"
SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS = "SCE, clusters", "SCE+MI, clusters", "SCE+MI, masks"
DC_CLUSTERS, DC_MASKS = "DC+MI, clusters", "DC+MI, masks"
METHODS = (SNMF, DAE, SCE_CLUSTERS, SCE_MI_CLUSTERS, SCE_MI_MASKS, DC_CLUSTERS, DC_MASKS)

_DAE_SHARE = 2  # embeddings' steps over those of DAE-30, which are some twenty times as long


@dataclass(frozen=True)
class Sizes:
    """How large the networks are: those of the paper unless said otherwise.

    layers, hidden: of LSTM, and units of each in either direction. dimensions: of an embedding.
    filters, patch, dae_batch: of DAE-30. bases, iterations: of sparse NMF.
    """

    layers: int = 4
    hidden: int = 250
    dimensions: int = 10
    filters: int = 128
    patch: int = 0
    dae_batch: int = 32
    bases: int = 1000
    iterations: int = 100
    batch: int = 32
    learning_rate: float = 1e-3
    dae_rate: float = 5e-5

    def about(self) -> str:
        """In a line."""
        patch = f" on patches of {self.patch} by {self.patch}" if self.patch else ""
        return (
            f"{self.layers} bidirectional LSTM layers of {2 * self.hidden} units, embeddings of {self.dimensions}, "
            f"Adam at {self.learning_rate:g}, {self.batch} mixtures a batch; DAE-30 of {self.filters} filters{patch}, "
            f"Nesterov Adam at {self.dae_rate:g}, {self.dae_batch} a batch; {self.bases} bases a kind."
        )


PAPER = Sizes()
SMALL = Sizes(
    layers=2, hidden=50, filters=16, patch=64, dae_batch=4, bases=60, batch=16, learning_rate=3e-3, dae_rate=1e-3
)


def train(name: str, material: Material, mixing: MixtureSettings, sizes: Sizes, run: TrainingOptions) -> Any:
    """A model by its name: "snmf", "dae-30", "sce", "sce-mi" or "dc-mi"."""
    same = {key: getattr(mixing, key) for key in ("rate", "n_fft", "hop", "seconds", "snr_low", "snr_high")}
    if name == "snmf":
        settings = snmf.Settings(**same, bases=sizes.bases)
        changed = TrainingOptions(steps=sizes.iterations, seed=run.seed, device=run.device, backend=run.backend)
        return snmf.fit_sounds(material.voices, material.noises, settings, changed)
    if name == "dae-30":
        settings = dae30.Settings(**same, batch=sizes.dae_batch, filters=sizes.filters, patch=sizes.patch)
        return dae30.fit_sampler(settings.sampler(material.voices, material.noises, run.seed), settings, run)
    settings = embedding.Settings(
        **same,
        batch=sizes.batch,
        objective=name,
        layers=sizes.layers,
        hidden=sizes.hidden,
        dimensions=sizes.dimensions,
    )
    return embedding.fit_sampler(settings.sampler(material.voices, material.noises, run.seed), settings, run)


MODELS = ("snmf", "dae-30", "sce", "sce-mi", "dc-mi")


def steps_of(name: str, steps: int) -> int:
    """How many of the steps that are asked for a model takes."""
    return max(1, steps // _DAE_SHARE) if name == "dae-30" else steps


def methods_of(models: dict[str, Any]) -> dict[str, Method]:
    """Every method of `METHODS`, by its name, from the models by theirs."""
    made: dict[str, tuple[Callable[[Any], Method], str]] = {
        SNMF: (as_denoised, "snmf"),
        DAE: (as_denoised, "dae-30"),
        SCE_CLUSTERS: (by_clusters, "sce"),
        SCE_MI_CLUSTERS: (by_clusters, "sce-mi"),
        SCE_MI_MASKS: (as_denoised, "sce-mi"),
        DC_CLUSTERS: (by_clusters, "dc-mi"),
        DC_MASKS: (as_denoised, "dc-mi"),
    }
    return {name: make(models[of]) for name, (make, of) in made.items()}
