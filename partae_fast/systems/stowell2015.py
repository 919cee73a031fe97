"""The convolutional partitioned autoencoder of Stowell & Turner 2015."""

from dataclasses import dataclass
from typing import Any, ClassVar

from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.session import Session
from ..training.spectrograms import UsualSpectrogram
from .convolutional import ConvolutionalSettings, log_idle_gpus
from .registry import System


@dataclass(frozen=True)
class Settings(ConvolutionalSettings):
    """Settings of section 4 of the paper.

    Windows overlap by 50 %, and 32 bins (10 to 41) span 1700 to 7200 Hz.

    The paper does not give the level of the magnitudes. The squared error grows with the level and the penalty does
    not, so at a high level foreground latents also learn noise; see bench/results/quality/stowell2015_level.md.
    """

    usual: ClassVar[UsualSpectrogram] = UsualSpectrogram(rate=22050, n_fft=128, hop=64, low=1700.0, high=7200.0)
    source: ClassVar[str] = (
        "Stowell & Turner 2015, Denoising without access to clean data using a partitioned autoencoder"
    )
    steps: ClassVar[int] = 4000
    optimizer: ClassVar[str] = "adadelta"


def fit(material: Material, settings: Settings, options: TrainingOptions) -> Any:
    """Train a ConvPartitionedAutoencoder on noisy recordings and noise or labels."""
    spectrograms = settings.spectrograms(material, options)
    steps = options.steps_or(settings.steps)
    frames = spectrograms.crop_frames(settings.frames, settings.pool)
    log_idle_gpus(options.chosen_device())
    with Session(options, settings.source, spectrogram=spectrograms.spectrogram) as session:
        return session.train(
            settings.model(spectrograms, options.seed),
            settings.sampler(spectrograms, frames, options),
            steps,
            settings.optimizer,
            settings.learning_rate,
            settings.penalty,
        )


SYSTEMS = (System("stowell2015", Settings.source, Settings, fit, ("recordings",), ("noise", "labels"), weak=True),)
