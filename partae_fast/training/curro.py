"""Training of the Curro autoencoder (Lusterman 2016), from weak labels."""

from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from ..models.curro import CurroAutoencoder
from .frame_models import LEARNING_RATE, OPTIMIZER, STEPS, FrameSettings, ready, settled, weak_sampler
from .systems import Given, Run, train

SOURCE = "Lusterman 2016, A partitioned autoencoder for audio de-noising, the Curro network"

PROGRAM: dict[str, Any] = {"noise_only": 0.5}  # what the thesis's program does otherwise than its text
_ALPHA_BATCHES, _ALPHA_FROM = 16, 2**31  # batches that alpha is learned from, of steps that no one trains


@dataclass(frozen=True)
class Settings(FrameSettings):
    """What is the system's own.

    hidden, latents, decoder, batch_norm, part, alpha: see `pf.CurroAutoencoder`.
    noise_only: share of noise-only frames in a step, above 0 and below 1.
    learn_alpha: learn alpha by least squares once trained, from clean recordings; part is then "both".

    The thesis's program differs from its text (as_program): half of the frames are noise-only; it takes all n_fft bins
    of |FFT|; the noise has the standard deviation that its variance should be; the signal's power is that of the items
    with signal.
    """

    hidden: int = 2048
    latents: int = 1024
    decoder: int = 1024
    noise_only: float = 0.25
    batch_norm: str = "none"
    part: str = "signal"
    alpha: float = 0.0
    learn_alpha: bool = False


def fit(given: Given, settings: Settings, run: Run) -> CurroAutoencoder:
    """Train on noisy recordings and noise, or on clean ones mixed with noise; returns the model, ready to denoise.

    2000 steps of Adam unless the run says otherwise. Raises UserError where recordings are missing, silent or too
    short, or a setting is out of range.
    """
    settings = settled(settings, PROGRAM, settings.batch_norm)
    if settings.learn_alpha:
        if not given.clean:
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
        seed=run.seed,
    )
    sampler = weak_sampler(given, settings, model.input, settings.noise_only, run.seed)
    model = train(ready(model, settings.rate), sampler, run, SOURCE, STEPS, OPTIMIZER, LEARNING_RATE)
    if settings.learn_alpha:
        model.learn_alpha([sampler.batch_at(_ALPHA_FROM + i) for i in range(_ALPHA_BATCHES)])
    return model
