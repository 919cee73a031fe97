"""Dictionaries of sparse NMF, of voices and of noises (Hetherly et al. 2018)."""

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


@dataclass(frozen=True)
class Settings(MixtureSettings):
    """Settings of sparse NMF, see `partae_fast.models.snmf.SparseNMF`, and of the recordings.

    In training a step is an update of activations and dictionary. Nothing is mixed: seconds, snr_low, snr_high and
    batch have no effect.
    """

    bases: int = setting(1000, "rows of the dictionary for voices, and as many for noises")
    context: int = setting(8, "frames before a frame")
    sparsity: float = setting(5.0, "weight of the activations' sum, 0 or more")
    iterations: int = setting(50, "updates of the activations in inference")
    frames: int = setting(20000, "frames of either kind that are learnt from, spread over the sources; 0 for all")


def fit(material: Material, settings: Settings, options: TrainingOptions) -> SparseNMF:
    """Learn the dictionaries from speech and noise. There is no checkpoint."""
    if options.resume:
        raise UserError("this model is learnt in one go and keeps no checkpoint; leave --resume out")
    return fit_sounds(*settings.sounds(material), settings, options)


def fit_sounds(voices: Sounds, noises: Sounds, settings: Settings, options: TrainingOptions) -> SparseNMF:
    """The same from recordings by source, at `settings.rate`."""
    model: Any = SparseNMF(
        settings.spectrogram.bins, settings.bases, settings.context, settings.sparsity, settings.iterations
    ).to(options.chosen_device())
    model.spectrogram = settings.spectrogram
    begun = time.monotonic()
    kinds = [torch.from_numpy(_frames(kind, settings)).to(model.dictionary) for kind in (voices, noises)]
    model.history = History(model.learn(*kinds, iterations=options.steps or _ITERATIONS, seed=options.seed))
    logger.info("%d and %d frames learnt from in %.0f s", *map(len, kinds), time.monotonic() - begun)
    return model


def _frames(sources: Sounds, settings: Settings) -> NDArray[np.float32]:
    """Magnitudes (N, bins), each source's brought to an RMS of 1 and thinned to its share of the frames."""
    spectrogram, most = settings.spectrogram, settings.frames // max(1, len(sources))
    found = []
    for recordings in sources.values():
        magnitudes = np.concatenate([spectrogram.magnitude(recording) for recording in recordings])
        magnitudes /= max(1e-12, float(np.sqrt(np.mean(np.square(magnitudes, dtype=np.float64)))))
        found.append(magnitudes[: most or None])
    return np.concatenate(found)


SYSTEMS = (System("snmf", SOURCE, Settings, fit, ("speech", "noise")),)
