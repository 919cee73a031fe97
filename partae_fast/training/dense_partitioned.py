"""Training of the partitioned dense autoencoder (Lusterman 2016), from weak labels."""

from dataclasses import dataclass
from typing import Any

from ..models.dense_partitioned import DensePartitionedAutoencoder
from .frame_models import LEARNING_RATE, OPTIMIZER, STEPS, FrameSettings, ready, settled, weak_sampler
from .systems import Given, Run, train

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the partitioned network"
PENALTY = 0.75

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
    """What is the system's own.

    latents, background, batch_norm, rectified_output, mean_over_items, unpenalised: see
        `pf.DensePartitionedAutoencoder`.
    noise_only: share of noise-only frames in a step, above 0 and below 1.

    The thesis's program differs from its text (as_program): half of the latents and of the frames are for noise; the
    output is rectified; the mean of C in the loss is over the items too, and C leaves out one latent; it takes all
    n_fft bins of |FFT|; the noise has the standard deviation that its variance should be; the signal's power is that
    of the items with signal.
    """

    latents: int = 2000
    background: float = 0.25
    noise_only: float = 0.25
    batch_norm: str = "input"
    rectified_output: bool = False
    mean_over_items: bool = False
    unpenalised: int = 0


def fit(given: Given, settings: Settings, run: Run) -> DensePartitionedAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise; returns the model, ready to denoise.

    2000 steps of Adam and a penalty of 0.75 unless the run says otherwise. Raises UserError where recordings are
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
        seed=run.seed,
    )
    sampler = weak_sampler(given, settings, model.input, settings.noise_only, run.seed)
    return train(ready(model, settings.rate), sampler, run, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE, PENALTY)
