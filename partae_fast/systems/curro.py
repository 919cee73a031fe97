"""Training of the Curro autoencoder (Lusterman 2016), from weak labels."""

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
    ready,
    settled,
    weak_sampler,
)
from .registry import System

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the Curro network"

PROGRAM: dict[str, Any] = {"noise_only": 0.5}  # what the thesis's program does otherwise than its text
_ALPHA_BATCHES, _ALPHA_FROM = 16, 2**31  # batches that alpha is learned from, of steps that no one trains


@dataclass(frozen=True)
class Settings(FrameSettings):
    """Settings of a Curro autoencoder; see `pf.CurroAutoencoder`.

    The thesis's program differs from its text (as_program): half of the frames are noise-only; it takes all n_fft bins
    of |FFT|; the noise has the standard deviation that its variance should be; the signal's power is that of the items
    with signal.
    """

    hidden: int = setting(2048, "units of the first two layers")
    latents: int = setting(1024, "latents for signal, and as many for noise")
    decoder: int = setting(1024, "units of the decoder's first two layers")
    noise_only: float = setting(0.25, "share of noise-only frames in a batch, above 0 and below 1")
    batch_norm: str = setting("none", "where batch normalisation is: none, input or every")
    part: str = setting("signal", "what is taken for the signal: signal, noise, or both (signal + alpha noise)")
    alpha: float = setting(0.0, "weight of the noise, of part both")
    learn_alpha: bool = setting(
        False, "learn alpha by least squares from clean recordings once trained; sets part both"
    )


def fit(material: Material, settings: Settings, options: TrainingOptions) -> CurroAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise; returns the model, ready to denoise.

    2000 steps of Adam unless the options say otherwise. Raises UserError where recordings are missing, silent or too
    short, or a setting is out of range.
    """
    settings = settled(settings, PROGRAM, settings.batch_norm)
    if settings.learn_alpha:
        if not material.clean:
            raise UserError("alpha is learned from clean recordings; give --clean, or set alpha itself")
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
    model = train(ready(model, settings.rate), sampler, options, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)
    if settings.learn_alpha:
        model.learn_alpha([sampler.batch_at(_ALPHA_FROM + i) for i in range(_ALPHA_BATCHES)])
    return model


SYSTEMS = (System("curro", THESIS, Settings, fit, (), WEAK),)
