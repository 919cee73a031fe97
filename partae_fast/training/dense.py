"""Training of the supervised dense autoencoders (Lusterman 2016), from clean recordings and noise."""

from dataclasses import dataclass
from typing import Any

from ..models.dense import DenseAutoencoder
from .frame_models import LEARNING_RATE, OPTIMIZER, STEPS, FrameSettings, clean_sampler, ready, settled
from .systems import Given, Run, train

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the supervised network"

# What the thesis's program does otherwise than its text.
PROGRAM: dict[str, Any] = {"batch_norm": "input-hidden", "statistics": "batch"}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """What is the system's own.

    layers, activation, batch_norm, rectified_output, l2, l1: see `pf.DenseAutoencoder`.

    The thesis's program differs from its text (as_program): it normalises the hidden layer besides the input, denoises
    with the statistics of the frames at hand, takes all n_fft bins of |FFT|, and gives the noise the standard
    deviation that its variance should be.
    """

    layers: str = "2000"
    activation: str = "mrelu"
    batch_norm: str = "input"
    rectified_output: bool = False
    l2: float = 0.0
    l1: float = 0.0


def fit(given: Given, settings: Settings, run: Run) -> DenseAutoencoder:
    """Train on clean recordings and what they are with noise, white unless noise is given; ready to denoise.

    2000 steps of Adam unless the run says otherwise. Raises UserError where recordings are missing, silent or too
    short, or a setting is out of range.
    """
    settings = settled(settings, PROGRAM, settings.batch_norm)
    model = DenseAutoencoder(
        input=settings.input,
        n_fft=settings.n_fft,
        spectrum=settings.spectrum,
        context=settings.context,
        layers=settings.layers,
        activation=settings.activation,
        batch_norm=settings.batch_norm,
        statistics=settings.statistics,
        rectified_output=settings.rectified_output,
        l2=settings.l2,
        l1=settings.l1,
        seed=run.seed,
    )
    sampler = clean_sampler(given, settings, model.input, run.seed)
    return train(ready(model, settings.rate), sampler, run, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)
