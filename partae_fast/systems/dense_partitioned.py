"""Training of the partitioned dense autoencoder (Lusterman 2016)."""

from dataclasses import dataclass
from typing import Any

from ..models.dense_partitioned import DensePartitionedAutoencoder
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .frame_models import (
    LEARNING_RATE,
    OPTIMIZER,
    STEPS,
    THESIS,
    WEAK,
    FrameSettings,
    resolve_settings,
    set_spectrogram,
    weak_sampler,
)
from .registry import System

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the partitioned network"

# Settings of the thesis's program that differ from its text; those of batches are in `FrameSampler`.
PROGRAM: dict[str, Any] = {
    "background": 0.5,
    "noise_only": 0.5,
    "rectified_output": True,
    "mean_over_items": True,
    "unpenalised": 1,
}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a `pf.DensePartitionedAutoencoder` and its training.

    With as_program, the settings follow the thesis's program where it differs from the text: half of the latents are
    background latents and half of the frames noise-only, the output is rectified, the mean of C in the loss is taken
    over the items too, C leaves out one latent, frames have all n_fft bins of |FFT|, the standard deviation of the
    noise is set to the value of its variance, and the power of the signal is computed over the items with signal.
    """

    latents: int = setting(2000, "number of latents")
    background: float = setting(0.25, "share of the latents for noise")
    penalty: float = setting(0.75, "weight of the penalty on noise in foreground latents")
    noise_only: float = setting(0.25, "share of noise-only frames in a batch, above 0 and below 1")
    batch_norm: str = setting("input", "layers with batch normalisation: none or input")
    rectified_output: bool = setting(False, "apply a rectifier to the output")
    mean_over_items: bool = setting(False, "take the mean of C (the foreground mask) in the loss over the items too")
    unpenalised: int = setting(0, "number of foreground latents without a penalty")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> DensePartitionedAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise.

    The default is 2000 steps of Adam. Raises UserError if recordings are missing, silent or too short, or if a setting
    is out of range.
    """
    settings = resolve_settings(settings, PROGRAM, settings.batch_norm)
    model = DensePartitionedAutoencoder(
        input=settings.input,
        n_fft=settings.n_fft,
        spectrum=settings.spectrum,
        context=settings.context,
        latents=settings.latents,
        background=settings.background,
        batch_norm=settings.batch_norm,
        statistics=settings.statistics,
        rectified_output=settings.rectified_output,
        mean_over_items=settings.mean_over_items,
        unpenalised=settings.unpenalised,
        seed=options.seed,
    )
    sampler = weak_sampler(material, settings, model.input, settings.noise_only, options.seed)
    model = set_spectrogram(model, settings.rate)
    return train(model, sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE, settings.penalty)


SYSTEMS = (System("dense-partitioned", THESIS, Settings, fit, (), WEAK),)
