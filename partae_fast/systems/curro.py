"""Training of the Curro autoencoder (Lusterman 2016) with weak labels."""

from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from ..models.curro import CurroAutoencoder
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

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the Curro network"

PROGRAM: dict[str, Any] = {"noise_only": 0.5}  # settings of the thesis's program that differ from its text
_ALPHA_BATCHES, _ALPHA_FROM = 16, 2**31  # batches to fit alpha to; their steps are beyond those of training


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a Curro autoencoder; see `pf.CurroAutoencoder`.

    With as_program, the settings follow the thesis's program where it differs from the text: half of the frames are
    noise-only, frames have all n_fft bins of |FFT|, the standard deviation of the noise is set to the value of its
    variance, and the power of the signal is computed over the items with signal.
    """

    hidden: int = setting(2048, "units of the first two layers of the encoder")
    latents: int = setting(1024, "number of latents for signal, and for noise")
    decoder: int = setting(1024, "units of the first two layers of the decoder")
    noise_only: float = setting(0.25, "share of noise-only frames in a batch, above 0 and below 1")
    batch_norm: str = setting("none", "layers with batch normalisation: none, input or every")
    part: str = setting("signal", "decoder output to use as signal: signal, noise, or both (signal + alpha * noise)")
    alpha: float = setting(0.0, "weight of the noise output, for part both")
    learn_alpha: bool = setting(
        False, "after training, fit alpha to clean recordings by least squares; implies part both"
    )


def fit(material: Material, settings: Settings, options: TrainingOptions) -> CurroAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise.

    The default is 2000 steps of Adam. Raises UserError if recordings are missing, silent or too short, or if a setting
    is out of range.
    """
    settings = resolve_settings(settings, PROGRAM, settings.batch_norm)
    if settings.learn_alpha:
        if not material.clean:
            raise UserError("alpha is fitted to clean recordings; give --clean, or set alpha instead of learn_alpha")
        settings = replace(settings, part="both")
    model = CurroAutoencoder(
        input=settings.input,
        n_fft=settings.n_fft,
        spectrum=settings.spectrum,
        context=settings.context,
        hidden=settings.hidden,
        latents=settings.latents,
        decoder=settings.decoder,
        batch_norm=settings.batch_norm,
        statistics=settings.statistics,
        part=settings.part,
        alpha=settings.alpha,
        seed=options.seed,
    )
    sampler = weak_sampler(material, settings, model.input, settings.noise_only, options.seed)
    model = train(set_spectrogram(model, settings.rate), sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)
    if settings.learn_alpha:
        model.learn_alpha([sampler.batch_at(_ALPHA_FROM + i) for i in range(_ALPHA_BATCHES)])
    return model


SYSTEMS = (System("curro", THESIS, Settings, fit, (), WEAK),)
