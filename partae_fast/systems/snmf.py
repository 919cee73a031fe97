"""Training of sparse NMF dictionaries (Hetherly et al. 2018)."""

import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from ..models.snmf import SparseNMF
from ..training.material import Material
from ..training.options import TrainingOptions
from ..training.options import option as setting
from ..training.trainer import History
from .mixing import SOURCE, MixtureSettings, Sounds
from .registry import System

logger = logging.getLogger("partae_fast")

_ITERATIONS = 100
_LOWEST_BIN = 6  # 117 Hz at the usual rate and window


@dataclass(frozen=True)
class Settings(MixtureSettings):
    """Settings of `partae_fast.models.snmf.SparseNMF` and of the recordings.

    A training step is an update of activations and dictionary. No mixtures are made, so seconds, snr_low, snr_high and
    batch have no effect.
    """

    bases: int = setting(1000, "rows of the dictionary of voices, and of the dictionary of noises")
    context: int = setting(8, "preceding frames that are joined to each frame")
    sparsity: float = setting(5.0, "weight of the sum of the activations in the loss, 0 or more")
    iterations: int = setting(50, "updates of the activations in inference")
    frames: int = setting(20000, "training frames of voices, and of noises, spread over the sources; 0 for all")
    trim: bool = setting(True, "leave out quiet frames of the recordings")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> SparseNMF:
    """Train the dictionaries on speech and noise. Writes no checkpoint."""
    if options.resume:
        raise UserError("model snmf keeps no checkpoint and cannot be resumed; leave --resume out")
    return fit_sounds(*settings.sounds(material), settings, options)


def fit_sounds(voices: Sounds, noises: Sounds, settings: Settings, options: TrainingOptions) -> SparseNMF:
    """Train the dictionaries on recordings at `settings.rate`, given by source."""
    model: Any = SparseNMF(
        settings.spectrogram.bins, settings.bases, settings.context, settings.sparsity, settings.iterations
    ).to(options.chosen_device())
    model.spectrogram = settings.spectrogram
    started = time.monotonic()
    kinds = [torch.from_numpy(_frames(kind, settings)).to(model.dictionary) for kind in (voices, noises)]
    model.history = History(model.learn(*kinds, iterations=options.steps or _ITERATIONS, seed=options.seed))
    logger.info("trained on %d and %d frames in %.0f s", *map(len, kinds), time.monotonic() - started)
    return model


def _frames(sources: Sounds, settings: Settings) -> NDArray[np.float32]:
    """Return magnitudes (N, bins) of all sources.

    Quiet frames are left out if the settings say so. Each source is scaled to an RMS of 1 and cut to its share of the
    frames.
    """
    spectrogram, frames_per_source = settings.spectrogram, settings.frames // max(1, len(sources))
    by_source = []
    for recordings in sources.values():
        by_recording = [spectrogram.magnitude(recording) for recording in recordings]
        magnitudes = np.concatenate([m[loud_frames(m)] if settings.trim else m for m in by_recording])
        magnitudes /= max(1e-12, float(np.sqrt(np.mean(np.square(magnitudes, dtype=np.float64)))))
        by_source.append(magnitudes[: frames_per_source or None])
    return np.concatenate(by_source)


def loud_frames(magnitudes: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which frames of magnitudes (N, bins) are loud, (N,), by the rule of the authors' program.

    The log of the largest magnitude of a frame, without the lowest six bins, is above its mean over the frames minus
    half its deviation. Silent frames are not loud, and do not count in the mean.
    """
    peaks = magnitudes[:, _LOWEST_BIN:].max(axis=1)
    logs = np.log(peaks, where=peaks > 0, out=np.full(len(peaks), -np.inf))
    audible = logs[peaks > 0]
    return logs > (audible.mean() - 0.5 * audible.std() if len(audible) and audible.std() > 0 else -np.inf)


SYSTEMS = (System("snmf", SOURCE, Settings, fit, ("speech", "noise")),)
