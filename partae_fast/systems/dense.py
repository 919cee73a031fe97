"""Training of the supervised dense autoencoders (Lusterman 2016), from clean recordings and noise."""

from dataclasses import dataclass
from typing import Any

from ..models.dense import DenseAutoencoder
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .frame_models import LEARNING_RATE, OPTIMIZER, STEPS, THESIS, FrameSettings, clean_sampler, ready, settled
from .registry import System

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the supervised network"

# What the thesis's program does otherwise than its text.
PROGRAM: dict[str, Any] = {"batch_norm": "input-hidden", "statistics": "batch"}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a dense autoencoder; see `pf.DenseAutoencoder`.

    The thesis's program differs from its text (as_program): it normalises the hidden layer besides the input, denoises
    with the statistics of the frames at hand, takes all n_fft bins of |FFT|, and gives the noise the standard
    deviation that its variance should be.
    """

    layers: str = setting("2000", "units of the hidden layers, joined by -")
    activation: str = setting("mrelu", "of the hidden layers: mrelu, leaky_relu, relu or identity")
    batch_norm: str = setting("input", "where batch normalisation is: none, input, hidden, input-hidden or every")
    rectified_output: bool = setting(False, "rectify the output")
    l2: float = setting(0.0, "weight of the squared weights in the loss")
    l1: float = setting(0.0, "weight of the absolute weights in the loss")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> DenseAutoencoder:
    """Train on clean recordings and what they are with noise, white unless noise is given; ready to denoise.

    2000 steps of Adam unless the options say otherwise. Raises UserError where recordings are missing, silent or too
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
        seed=options.seed,
    )
    sampler = clean_sampler(material, settings, model.input, options.seed)
    return train(ready(model, settings.rate), sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)


# The deep network of the thesis's program, which its text does not describe.
_DEEP = {
    "layers": "400-330-300-270-300-330-400",
    "activation": "leaky_relu",
    "batch_norm": "every",
    "l2": 1e-5,
    "l1": 1e-6,
}
SYSTEMS = (
    System("dense", THESIS, Settings, fit, ("clean",), ("noise",)),
    System("dense-deep", THESIS, Settings, fit, ("clean",), ("noise",), _DEEP),
)
