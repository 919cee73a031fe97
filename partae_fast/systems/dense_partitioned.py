"""Training of the partitioned dense autoencoder (Lusterman 2016), from weak labels."""

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
    ready,
    settled,
    weak_sampler,
)
from .registry import System

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the partitioned network"

# What the thesis's program does otherwise than its text; its sampler's part is in `FrameSampler`.
PROGRAM: dict[str, Any] = {
    "background": 0.5,
    "noise_only": 0.5,
    "rectified_output": True,
    "mean_over_items": True,
    "unpenalised": 1,
}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a partitioned dense autoencoder; see `pf.DensePartitionedAutoencoder`.

    The thesis's program differs from its text (as_program): half of the latents and of the frames are for noise; the
    output is rectified; the mean of C in the loss is over the items too, and C leaves out one latent; it takes all
    n_fft bins of |FFT|; the noise has the standard deviation that its variance should be; the signal's power is that
    of the items with signal.
    """

    latents: int = setting(2000, "latents")
    background: float = setting(0.25, "share of the latents that are for noise")
    penalty: float = setting(0.75, "on noise in foreground latents")
    noise_only: float = setting(0.25, "share of noise-only frames in a batch, above 0 and below 1")
    batch_norm: str = setting("input", "where batch normalisation is: none or input")
    rectified_output: bool = setting(False, "rectify the output")
    mean_over_items: bool = setting(False, "take the mean of C in the loss over the items too")
    unpenalised: int = setting(0, "foreground latents without a penalty")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> DensePartitionedAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise; returns the model, ready to denoise.

    2000 steps of Adam unless the options say otherwise. Raises UserError where recordings are
    missing, silent or too short, or a setting is out of range.
    """
    settings = settled(settings, PROGRAM, settings.batch_norm)
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
    return train(
        ready(model, settings.rate), sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE, settings.penalty
    )


SYSTEMS = (System("dense-partitioned", THESIS, Settings, fit, (), WEAK),)
