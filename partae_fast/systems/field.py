"""The default system: a partitioned autoencoder, then self-training.

The partitioned autoencoder learns to separate signal from noise with weak labels. Each denoising autoencoder is then
trained on mixtures made with the model before it (`self_training`). The estimate of the last is averaged with that of a
filter; docs/quality.md has the evidence.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..errors import UserError
from ..masking.mask import Mask
from ..masking.rules import MILD_END, cautious, typical_power, with_bypass
from ..models.denoising_conv import ConvDenoisingAutoencoder
from ..models.filtered_denoising import FilteredDenoisingAutoencoder
from ..training.checkpoint import falling_over
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.schedules import Stairs
from ..training.session import Session
from ..training.spectrograms import Spectrograms, UsualSpectrogram
from ..training.trainer import History
from .convolutional import ConvolutionalSettings, log_idle_gpus
from .filter import learned_filter
from .registry import System
from .self_training import self_training_sampler

logger = logging.getLogger("partae_fast")

_SHARES = (3, 4, 4)  # shares of the steps: the partitioned autoencoder, and two rounds of self-training


@dataclass(frozen=True)
class Settings(ConvolutionalSettings):
    """Settings chosen on field recordings; see bench/results/quality/field.md."""

    frames: int = setting(128, "frames in a crop", least=1)
    latents: int = setting(64, "number of latents", least=1)
    taps: int = setting(5, "frames in a filter", least=1)
    pool: int = setting(4, "frames in a pool window", least=1)
    penalty: float = setting(100.0, "weight of the penalty on noise in foreground latents")
    noise_only: float = setting(0.5, "share of noise-only items in a batch")
    batch: int = setting(8, "items in a batch", least=1)
    filter_share: float = setting(0.75, "share of the filter in the estimate, 0 to 1; 0 for the networks alone")

    usual: ClassVar[UsualSpectrogram] = UsualSpectrogram(rate=22050, n_fft=256, hop=64, low=80.0, high=11025.0)
    source: ClassVar[str] = "bench/results/quality/field.md: for recordings from the field, the default"
    steps: ClassVar[int] = 2200
    optimizer: ClassVar[str] = "adam"
    learning_rate: ClassVar[float | None] = 2e-3
    match_noise: ClassVar[bool] = True
    mask: ClassVar[Mask] = Mask(exponent=1.0, background=0.0, noise=0.4, gate=1.5, smoothing=3)

    def stages(self, steps: int) -> list[int]:
        """Return the steps of each model, which sum to `steps`.

        Each model gets at least one step if there are enough.
        """
        total = sum(_SHARES)
        ends = [steps * sum(_SHARES[:count]) // total for count in range(1, len(_SHARES) + 1)]
        ends = [min(steps, max(count, end)) for count, end in enumerate(ends, start=1)]
        return [end - first for first, end in zip([0, *ends], ends, strict=False)]


def fit(material: Material, settings: Settings, options: TrainingOptions) -> Any:
    """Train a FilteredDenoisingAutoencoder on noisy recordings and noise or labels.

    The learning rate of each model falls during its training.
    """
    if not 0 <= settings.filter_share <= 1:
        raise UserError(f"filter_share is {settings.filter_share}; it must be from 0 to 1")
    spectrograms = settings.spectrograms(material, options)
    steps = options.steps_or(settings.steps)
    frames = spectrograms.crop_frames(settings.frames, settings.pool)
    log_idle_gpus(options.chosen_device())
    first, *later = settings.stages(steps)
    if 0 in later and steps:
        logger.warning(
            "steps is %d, which leaves no steps for the denoising model; give %d or more", steps, 1 + len(later)
        )
    if options.checkpoint and options.resume:
        _check_same_steps(Path(options.checkpoint), settings, steps)
    with Session(options, settings.source, 1 + len(later), spectrograms.spectrogram) as session:
        model = session.train(
            settings.model(spectrograms, options.seed),
            settings.sampler(spectrograms, frames, options),
            first,
            settings.optimizer,
            settings.learning_rate,
            settings.penalty,
            schedule=Stairs(first),
        )
        losses, spectrograms = model.history.loss, spectrograms.excerpt(options.seed, settings.frames)
        for number, count in enumerate(later, start=1):
            signal, noise = spectrograms.signal, spectrograms.noise
            batches = frames, settings.batch, settings.noise_only, options.seed
            sampler = self_training_sampler(model, settings.mask, signal, noise, *batches, number)
            student = _denoising_model(settings, spectrograms, options.seed)
            model = session.train(student, sampler, count, "adam", settings.learning_rate, schedule=Stairs(count))
            losses = losses + model.history.loss
            model.noise_mean_square.copy_(torch.from_numpy(typical_power(noise, signal)))
            model.mask = with_bypass(cautious(settings.mask, noise, MILD_END), noise)
    if later:
        model = FilteredDenoisingAutoencoder.of(
            model, learned_filter(material, spectrograms.spectrogram, options.seed), settings.filter_share
        )
    model.history = History(losses)
    return model


def _denoising_model(settings: Settings, spectrograms: Spectrograms, seed: int) -> ConvDenoisingAutoencoder:
    """Return an untrained model for a round of self-training."""
    model = ConvDenoisingAutoencoder(
        spectrograms.spectrogram.bins, latents=settings.latents, taps=settings.taps, pool=settings.pool, seed=seed
    )
    return settings.configure_model(model, spectrograms)


def _check_same_steps(checkpoint: Path, settings: Settings, steps: int) -> None:
    """Raise UserError if a run is resumed with another number of steps.

    The number of steps sets how the learning rate falls.
    """
    started = falling_over(checkpoint)
    if not started or settings.stages(steps)[0] == started:
        return
    possible = [n for n in range(started, (started + 1) * sum(_SHARES)) if settings.stages(n)[0] == started]
    if possible:
        count = f"{possible[0]} to {possible[-1]}" if len(possible) > 1 else f"{possible[0]}"
        raise UserError(
            f"{checkpoint}: this run was started for {count} steps, which set its learning rate, and steps is now "
            f"{steps}; continue with --steps {possible[-1]}, or start again with --overwrite"
        )


SYSTEMS = (System("field", Settings.source, Settings, fit, ("recordings",), ("noise", "labels"), weak=True),)
