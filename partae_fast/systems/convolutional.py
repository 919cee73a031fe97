"""What the systems with a convolutional partitioned autoencoder share: settings, spectrograms, model and sampler."""

import logging
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from ..masking.mask import Mask
from ..models.conv_partitioned import ConvPartitionedAutoencoder
from ..sampling.crops import CropSampler
from ..training.distributed import current
from ..training.material import Material
from ..training.options import RESERVOIR_MIB, TrainingOptions
from ..training.options import option as setting
from ..training.reservoir import ReservoirSampler
from ..training.spectrograms import Spectrograms, UsualSpectrogram, prepare
from ..training.stored import is_stored
from .spectrogram_settings import SpectrogramSettings

logger = logging.getLogger("partae_fast")


@dataclass(frozen=True)
class ConvolutionalSettings(SpectrogramSettings):
    """The spectrogram, the model and the batches of a convolutional system."""

    level: float = setting(0.2, "RMS of the magnitudes that may have signal")
    frames: int = setting(512, "frames in a crop", least=1)
    latents: int = setting(32, "latents", least=1)
    taps: int = setting(9, "frames in a filter", least=1)
    pool: int = setting(16, "frames in a pool window", least=1)
    background: float = setting(0.25, "share of the latents that are for noise")
    penalty: float = setting(0.75, "on noise in foreground latents")
    noise_only: float = setting(0.25, "share of a batch's items that are noise-only")
    batch: int = setting(16, "items in a batch", least=1)

    usual: ClassVar[UsualSpectrogram]
    source: ClassVar[str]
    steps: ClassVar[int]
    optimizer: ClassVar[str]
    learning_rate: ClassVar[float | None] = None  # None for the optimizer's own
    match_noise: ClassVar[bool] = False  # bring recordings of noise to the level of the noise in the others
    mask: ClassVar[Mask] = Mask()

    def stages(self, steps: int) -> list[int]:
        """How many of so many steps in all each model takes that is trained."""
        return [steps]

    def spectrograms(self, material: Material, options: TrainingOptions) -> Spectrograms:
        """The material's spectrograms."""
        return prepare(material, self.usual, self.asked, self.level, self.match_noise, options.cache, options.progress)

    def model(self, spectrograms: Spectrograms, seed: int) -> ConvPartitionedAutoencoder:
        """The partitioned autoencoder before its first step, ready to denoise."""
        model = ConvPartitionedAutoencoder(
            bins=spectrograms.spectrogram.bins,
            latents=self.latents,
            taps=self.taps,
            pool=self.pool,
            background=self.background,
            seed=seed,
        )
        return self.ready(model, spectrograms)

    def ready(self, model: Any, spectrograms: Spectrograms) -> Any:
        """The model with what denoising needs besides weights: spectrogram and mask."""
        model.spectrogram, model.mask = spectrograms.spectrogram, self.mask
        return model

    def sampler(self, spectrograms: Spectrograms, frames: int, options: TrainingOptions) -> CropSampler:
        """Batches of crops of `frames` frames, from a reservoir where the spectrograms do not fit into memory."""
        common = frames, self.batch, self.noise_only, options.seed
        recordings = [*spectrograms.signal, *spectrograms.noise]
        most = RESERVOIR_MIB if options.reservoir is None else options.reservoir
        size = 4 * sum(recording.size for recording in recordings) / 2**20
        if is_stored(recordings) and size > most:
            sampler = ReservoirSampler([spectrograms.signal], [spectrograms.noise], *common, most)
            logger.info("a reservoir of %.0f of %.0f MiB is renewed every %d steps", most, size, sampler.every)
            return sampler
        return CropSampler([spectrograms.signal], [spectrograms.noise], *common)


def log_idle_gpus(device: torch.device) -> None:
    """Log that GPUs are idle, and how to use them."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if current().count == 1 < gpus:
        logger.info(
            "1 of %d GPUs trains; large batches are faster on all: torchrun --nproc-per-node %d -m partae_fast train",
            gpus,
            gpus,
        )
