"""Training of the supervised dense autoencoders (Lusterman 2016)."""

from dataclasses import dataclass
from typing import Any

from ..models.dense import DenseAutoencoder
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .frame_models import (
    LEARNING_RATE,
    OPTIMIZER,
    STEPS,
    THESIS,
    FrameSettings,
    clean_sampler,
    resolve_settings,
    set_spectrogram,
)
from .registry import System

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the supervised network"

# Settings of the thesis's program that differ from its text.
PROGRAM: dict[str, Any] = {"batch_norm": "input-hidden", "statistics": "batch"}


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a dense autoencoder; see `pf.DenseAutoencoder`.

    With as_program, the settings follow the thesis's program where it differs from the text: the hidden layer has batch
    normalisation too, denoising uses the statistics of the frames that are denoised, frames have all n_fft bins of
    |FFT|, and the standard deviation of the noise is set to the value of its variance.
    """

    layers: str = setting("2000", "units of the hidden layers, joined by -, such as 400-300-400")
    activation: str = setting("mrelu", "activation of the hidden layers: mrelu, leaky_relu, relu or identity")
    batch_norm: str = setting("input", "layers with batch normalisation: none, input, hidden, input-hidden or every")
    rectified_output: bool = setting(False, "apply a rectifier to the output")
    l2: float = setting(0.0, "coefficient of the sum of squared weights in the loss")
    l1: float = setting(0.0, "coefficient of the sum of absolute weights in the loss")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> DenseAutoencoder:
    """Train on clean recordings and their mixtures with noise.

    Without noise recordings, the noise is white. The default is 2000 steps of Adam. Raises UserError if recordings are
    missing, silent or too short, or if a setting is out of range.
    """
    settings = resolve_settings(settings, PROGRAM, settings.batch_norm)
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
    return train(set_spectrogram(model, settings.rate), sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)


# The deep network of the thesis's program; the text does not describe it.
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
