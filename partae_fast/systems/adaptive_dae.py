"""Training of the adaptive denoising autoencoder (Kim & Smaragdis 2015), from clean recordings and noise."""

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
STEPS, LEARNING_RATE = 20000, 1e-6  # the first is ours
_CLEAN, _NOISE = 0, 1  # groups that are drawn from

Spectra = NDArray[np.complex64]


@dataclass(frozen=True)
class Settings:
    """Settings of the adaptive denoising autoencoder: the paper's where nothing else is said.

    Our choices are batch and level; with level 1 the paper's step size, 1e-6, learns.
    """

    rate: int = setting(16000, "sample rate that the model works at, Hz")
    n_fft: int = setting(1024, "samples in a window, the root of a Hann window")
    hop: int = setting(256, "samples from one window to the next")
    context: int = setting(1, "consecutive frames in a stack, odd")
    hidden: int = setting(2048, "units of a hidden layer")
    layers: int = setting(2, "hidden layers of each network: 2 for speech, 3 for singing voice")
    dropout: float = setting(0.2, "share of hidden units that are dropped, in [0, 1)")
    snr: float = setting(0.0, "of the mixtures that are learnt from, recording against recording, dB")
    batch: int = setting(128, "stacks in a batch")
    level: float = setting(1.0, "RMS magnitude of the mixtures")
    momentum: float = setting(0.95, "in [0, 1)")
    clip: float = setting(1.0, "weights stay in [-clip, clip]")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> AdaptiveDenoisingAutoencoder:
    """Train both networks on clean recordings and their mixtures with noise; returns the model, ready to denoise.

    Every recording is brought to one root mean square, that of the clean ones' median, so that mixtures are at the
    ratio that is wanted. Every step mixes anew: a stack of frames of a clean recording, anywhere, with one of a noise.
    The step size is that of the summed error, not of its mean. 20000 steps unless the options say otherwise; the paper
    does not.

    Raises UserError where recordings are missing or silent, or a setting is out of range.

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
    usual = float(np.median([_loudness(channel) for channel in clean]))
    clean = _spectra(clean, spectrogram, usual)
    noise = _spectra(noise, spectrogram, usual * 10 ** (-settings.snr / 20))
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
    """Batches of stacks: magnitudes of mixtures, and of what is clean in them, (batch, C * H) each.

    A mixture is the sum of the spectra of a clean stack and of a noise stack; each is drawn among all of its kind, the
    same on every machine: with the seed as key and (step, item, kind, 0) as counter.

    Args:
        clean, noise: spectra (N, H) of recordings, complex, at the levels at which they are to be added.
        context: C, frames in a stack; beyond a recording's ends is silence. batch: items. seed: in [0, 2^63).
    """

    def __init__(self, clean: Sequence[Spectra], noise: Sequence[Spectra], context: int, batch: int, seed: int) -> None:
        self.context, self.batch, self.seed = context, batch, seed
        self.clean, self.starts = _laid_out(clean, context)
        self.noise, self.noise_starts = _laid_out(noise, context)

    def batch_at(self, step: int, items: range | None = None) -> tuple[Tensor, Tensor]:
        """The mixtures and the clean stacks of a step, or of some of its items."""
        among = range(self.batch) if items is None else items
        clean = self.clean[self._rows(step, among, _CLEAN, self.starts)]
        noise = self.noise[self._rows(step, among, _NOISE, self.noise_starts)]
        return (clean + noise).abs().flatten(1), clean.abs().flatten(1)

    def to(self, device: torch.device | str) -> "StackSampler":
        """This sampler, its recordings moved to `device`."""
        self.clean, self.noise = self.clean.to(device), self.noise.to(device)
        return self

    def fingerprint(self) -> dict[str, Any]:
        """All that decides which batches are drawn, the recordings as a SHA-256 of their values."""
        digest = hashlib.sha256()
        for part in (self.clean.cpu().numpy(), self.noise.cpu().numpy(), self.starts, self.noise_starts):
            digest.update(np.ascontiguousarray(part).data)
        settings = {"seed": self.seed, "batch": self.batch, "context": self.context, "bins": self.clean.shape[1]}
        return {**settings, "recordings_sha256": digest.hexdigest()}

    def _rows(self, step: int, items: range, kind: int, starts: NDArray[np.int64]) -> Tensor:
        """Rows of the recordings laid end to end, (items, C)."""
        item = np.arange(items.start, items.stop, dtype=np.uint64)
        words = first_word(self.seed, np.array(step, np.uint64), item, np.array(kind, np.uint64))
        drawn = starts[((words * np.uint64(len(starts))) >> np.uint64(32)).astype(np.int64)]
        return torch.from_numpy(drawn[:, None] + np.arange(self.context)).to(self.clean.device)


def _laid_out(recordings: Sequence[Spectra], context: int) -> tuple[Tensor, NDArray[np.int64]]:
    """Recordings end to end with silence around each, and the row where each of their stacks begins."""
    around = context // 2
    padded = [np.pad(spectra, ((around, around), (0, 0))) for spectra in recordings]
    firsts = np.cumsum([0, *map(len, padded)])
    starts = [first + np.arange(len(spectra)) for first, spectra in zip(firsts, recordings, strict=False)]
    return torch.from_numpy(np.concatenate(padded)), np.concatenate(starts)


def _spectra(channels: Sequence[NDArray[np.float32]], spectrogram: Spectrogram, loudness: float) -> list[Spectra]:
    """Spectra (N, H) of recordings that are brought to one root mean square."""
    return [spectrogram.stft(channel * np.float32(loudness / _loudness(channel))) for channel in channels]


def _loudness(channel: NDArray[np.float32]) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(channel, dtype=np.float64))))


def _power(recordings: Sequence[Spectra]) -> float:
    """Mean square magnitude."""
    squares = sum(float(np.sum(np.abs(spectra) ** 2, dtype=np.float64)) for spectra in recordings)
    return squares / sum(spectra.size for spectra in recordings)


def _purity(model: AdaptiveDenoisingAutoencoder, clean: Tensor) -> float:
    """The top network's squared error on clean magnitudes (rows of silence between recordings do not matter)."""
    error = power = 0.0
    with torch.no_grad():
        for block in clean.split(4096):
            stacked = stack_frames(block.abs()[None], model.context)[0]
            made = model.top(stacked, 0.0, 0, model.backend)
            error += float((made - stacked).square().sum())
            power += float(stacked.square().sum())
    return error / power


SYSTEMS = (System("adaptive-dae", SOURCE, Settings, fit, ("clean", "noise")),)
