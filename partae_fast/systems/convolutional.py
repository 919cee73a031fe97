"""Settings, model and sampler shared by the convolutional systems."""

import logging
from dataclasses import dataclass
from pathlib import Path
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
    """Settings of spectrogram, model and batches of a convolutional system."""

    level: float = setting(0.2, "RMS to which the magnitudes with signal are scaled")
    frames: int = setting(512, "frames in a crop", least=1)
    latents: int = setting(32, "number of latents", least=1)
    taps: int = setting(9, "frames in a filter", least=1)
    pool: int = setting(16, "frames in a pool window", least=1)
    background: float = setting(0.25, "share of the latents for noise")
    penalty: float = setting(0.75, "weight of the penalty on noise in foreground latents")
    noise_only: float = setting(0.25, "share of noise-only items in a batch")
    batch: int = setting(16, "items in a batch", least=1)

    usual: ClassVar[UsualSpectrogram]
    source: ClassVar[str]
    steps: ClassVar[int]
    optimizer: ClassVar[str]
    learning_rate: ClassVar[float | None] = None  # None for the default of the optimizer
    match_noise: ClassVar[bool] = False  # scale noise-only recordings to the level of the noise in the others
    mask: ClassVar[Mask] = Mask()

    def stages(self, steps: int) -> list[int]:
        """Return the steps of each model that is trained; they sum to `steps`."""
        return [steps]

    def spectrograms(self, material: Material, options: TrainingOptions) -> Spectrograms:
        """Compute the spectrograms of the material."""
        return prepare(
            material,
            self.usual,
            self.asked,
            self.level,
            self.match_noise,
            options.cache,
            options.progress,
            scratch=Path(options.checkpoint).parent if options.checkpoint else None,
        )

    def model(self, spectrograms: Spectrograms, seed: int) -> ConvPartitionedAutoencoder:
        """Return an untrained partitioned autoencoder that can denoise audio."""
        model = ConvPartitionedAutoencoder(
            bins=spectrograms.spectrogram.bins,
            latents=self.latents,
            taps=self.taps,
            pool=self.pool,
            background=self.background,
            seed=seed,
        )
        return self.configure_model(model, spectrograms)

    def configure_model(self, model: Any, spectrograms: Spectrograms) -> Any:
        """Set the spectrogram and mask of the model for denoising; return the model."""
        model.spectrogram, model.mask = spectrograms.spectrogram, self.mask
        return model

    def sampler(self, spectrograms: Spectrograms, frames: int, options: TrainingOptions) -> CropSampler:
        """Return a sampler of crops.

        It draws from a reservoir if stored spectrograms exceed the memory limit.
        """
        common = frames, self.batch, self.noise_only, options.seed
        recordings = [*spectrograms.signal, *spectrograms.noise]
        limit = RESERVOIR_MIB if options.reservoir is None else options.reservoir
        size = 4 * sum(recording.size for recording in recordings) / 2**20
        if is_stored(recordings) and size > limit:
            sampler = ReservoirSampler([spectrograms.signal], [spectrograms.noise], *common, limit)
            logger.info("a reservoir of %.0f of %.0f MiB is renewed every %d steps", limit, size, sampler.every)
            return sampler
        return CropSampler([spectrograms.signal], [spectrograms.noise], *common)


def log_idle_gpus(device: torch.device) -> None:
    """Log how to train on several GPUs if some of them are not used."""
    gpus = torch.cuda.device_count() if device.type == "cuda" else 0
    if current().count == 1 < gpus:
        logger.info(
            "training on 1 of %d GPUs; for large batches, all are faster: "
            "torchrun --nproc-per-node %d -m partae_fast train",
            gpus,
            gpus,
        )
