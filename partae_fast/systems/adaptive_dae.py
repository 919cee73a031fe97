"""Training of the adaptive denoising autoencoder (Kim & Smaragdis 2015)."""

import hashlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..kernels.philox import first_word
from ..models.adaptive_dae import AdaptiveDenoisingAutoencoder, stack_frames
from ..sampling.batches import BatchStream
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.session import train
from .registry import System

logger = logging.getLogger("partae_fast")

SOURCE = "Kim & Smaragdis 2015, Adaptive denoising autoencoders: a fine-tuning scheme to learn from test mixtures"
STEPS, LEARNING_RATE = 20000, 1e-6  # the paper gives the learning rate only
_CLEAN, _NOISE = 0, 1  # group numbers in the counter of the random draws

Spectra = NDArray[np.complex64]


@dataclass(frozen=True)
class Settings:
    """Settings of the adaptive denoising autoencoder.

    Defaults are those of the paper, except for batch and level, which the paper does not give. With level 1, training
    converges at the paper's learning rate of 1e-6.
    """

    rate: int = setting(16000, "sample rate of the model, Hz")
    n_fft: int = setting(1024, "samples in a window (the square root of a Hann window)")
    hop: int = setting(256, "samples from one window to the next")
    context: int = setting(1, "consecutive frames in a stack, an odd number")
    hidden: int = setting(2048, "units of a hidden layer")
    layers: int = setting(2, "hidden layers of each network: 2 for speech, 3 for singing voice")
    dropout: float = setting(0.2, "share of hidden units to drop, in [0, 1)")
    snr: float = setting(0.0, "signal-to-noise ratio of the training mixtures, dB")
    batch: int = setting(128, "stacks in a batch")
    level: float = setting(1.0, "RMS magnitude of the training mixtures")
    momentum: float = setting(0.95, "momentum of the optimizer, in [0, 1)")
    clip: float = setting(1.0, "weights are clipped to [-clip, clip]")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> AdaptiveDenoisingAutoencoder:
    """Train both networks on clean recordings and their mixtures with noise.

    Every recording is scaled to the same root mean square, the median of the clean recordings, so that mixtures have
    the ratio `snr`. Each item of a batch adds a random stack of frames from the clean recordings and one from the
    noise. The learning rate refers to the gradient of the summed error, not of its mean. The default is 20000 steps;
    the paper gives no number.

    Raises UserError if recordings are missing or silent, or if a setting is out of range.

    Kim & Smaragdis 2015, sections 2.2 and 3.
    """
    if settings.batch < 1 or not 0 < settings.level < math.inf or not math.isfinite(settings.snr):
        raise UserError(
            f"batch is {settings.batch}, level {settings.level} and snr {settings.snr}; batch must be at least 1, "
            "level above 0 and snr a number of dB"
        )
    spectrogram = Spectrogram(
        rate=settings.rate,
        n_fft=settings.n_fft,
        hop=settings.hop,
        low=0.0,
        high=settings.rate / 2,
        window="sqrt-hann",
    )
    clean, noise = (material.channels(kind, settings.rate) for kind in ("clean", "noise"))
    target_rms = float(np.median([_rms(channel) for channel in clean]))
    clean = _spectra(clean, spectrogram, target_rms)
    noise = _spectra(noise, spectrogram, target_rms * 10 ** (-settings.snr / 20))
    gain = settings.level / math.sqrt(_power(clean) + _power(noise))
    sampler = StackSampler(
        [s * np.float32(gain) for s in clean],
        [s * np.float32(gain) for s in noise],
        settings.context,
        settings.batch,
        options.seed,
    )
    model = AdaptiveDenoisingAutoencoder(
        spectrogram.bins, settings.context, settings.hidden, settings.layers, settings.dropout, options.seed
    )
    model.spectrogram = replace(spectrogram, gain=gain)
    model.level.fill_(settings.level)
    model = train(
        model,
        sampler,
        options,
        source=SOURCE,
        steps=STEPS,
        optimizer="clipped_sgd",
        learning_rate=LEARNING_RATE,
        optimizer_options={"momentum": settings.momentum, "clip": settings.clip},
    )
    model.purity.fill_(_purity(model, sampler.clean))
    return model


class StackSampler(BatchStream):
    """Sampler of stacks of frames: mixtures and their clean part.

    Magnitudes are (batch, C * H) each.

    A mixture is the sum of the spectra of a clean stack and a noise stack. Each is drawn uniformly from all stacks of
    its kind, by Philox with the seed as key and (step, item, kind, 0) as counter, so that draws are the same on every
    machine.

    Args:
        clean, noise: complex spectra (N, H) of recordings, at the levels at which they are added.
        context: C, the frames in a stack. Stacks at the ends of a recording are padded with silence.
        batch: items in a batch.
        seed: in [0, 2^63).
    """

    def __init__(self, clean: Sequence[Spectra], noise: Sequence[Spectra], context: int, batch: int, seed: int) -> None:
        self.context, self.batch, self.seed = context, batch, seed
        self.clean, self.starts = _concatenate(clean, context)
        self.noise, self.noise_starts = _concatenate(noise, context)

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor]:
        """Return the mixtures and the clean stacks of a step, or of some items of it."""
        items = range(self.batch) if items is None else items
        clean = self.clean[self._rows(step, items, _CLEAN, self.starts)]
        noise = self.noise[self._rows(step, items, _NOISE, self.noise_starts)]
        return (clean + noise).abs().flatten(1), clean.abs().flatten(1)

    def to(self, device: torch.device | str) -> "StackSampler":
        """Move the recordings to `device` and return this sampler."""
        self.clean, self.noise = self.clean.to(device), self.noise.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """Return everything that determines the batches.

        Recordings are represented by a SHA-256 of their values.
        """
        digest = hashlib.sha256()
        for part in (self.clean.cpu().numpy(), self.noise.cpu().numpy(), self.starts, self.noise_starts):
            digest.update(np.ascontiguousarray(part).data)
        settings = {"seed": self.seed, "batch": self.batch, "context": self.context, "bins": self.clean.shape[1]}
        return {**settings, "recordings_sha256": digest.hexdigest()}

    def _rows(self, step: int, items: range, kind: int, starts: NDArray[np.int64]) -> Tensor:
        """Return the rows of the drawn stacks in the concatenated recordings, (items, C)."""
        item = np.arange(items.start, items.stop, dtype=np.uint64)
        words = first_word(self.seed, np.array(step, np.uint64), item, np.array(kind, np.uint64))
        first_rows = starts[((words * np.uint64(len(starts))) >> np.uint64(32)).astype(np.int64)]
        return torch.from_numpy(first_rows[:, None] + np.arange(self.context)).to(self.clean.device)


def _concatenate(recordings: Sequence[Spectra], context: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the padded recordings end to end, and the first row of each stack.

    Recordings are padded with silence.
    """
    padding = context // 2
    padded = [np.pad(spectra, ((padding, padding), (0, 0))) for spectra in recordings]
    offsets = np.cumsum([0, *map(len, padded)])
    starts = [offset + np.arange(len(spectra)) for offset, spectra in zip(offsets, recordings, strict=False)]
    return torch.from_numpy(np.concatenate(padded)), np.concatenate(starts)


def _spectra(channels: Sequence[NDArray[np.float32]], spectrogram: Spectrogram, rms: float) -> list[Spectra]:
    """Return the spectra (N, H) of recordings, each scaled to `rms`."""
    return [spectrogram.stft(channel * np.float32(rms / _rms(channel))) for channel in channels]


def _rms(channel: NDArray[np.float32]) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(np.square(channel, dtype=np.float64))))


def _power(recordings: Sequence[Spectra]) -> float:
    """Return the mean square magnitude."""
    squares = sum(float(np.sum(np.abs(spectra) ** 2, dtype=np.float64)) for spectra in recordings)
    return squares / sum(spectra.size for spectra in recordings)


def _purity(model: AdaptiveDenoisingAutoencoder, clean: Tensor) -> float:
    """Return the relative squared error of the top network on clean magnitudes.

    Rows of silence between recordings contribute to neither.
    """
    error = power = 0.0
    with torch.no_grad():
        for block in clean.split(4096):
            stacked = stack_frames(block.abs()[None], model.context)[0]
            output = model.top(stacked, 0.0, 0, model.backend)
            error += float((output - stacked).square().sum())
            power += float(stacked.square().sum())
    return error / power


SYSTEMS = (System("adaptive-dae", SOURCE, Settings, fit, ("clean", "noise")),)
