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
from .mixing import Mixing, Sounds
from .systems import Given, Run
from .trainer import History

logger = logging.getLogger("partae_fast")

_ITERATIONS = 100


@dataclass(frozen=True)
class Settings(Mixing):
    """The model's settings, see `partae_fast.models.snmf.SparseNMF`, and how recordings are heard.

    bases: rows of the dictionary for voices, and as many for noises. context: frames before a frame.
    sparsity: weight of the activations' sum, 0 or more. iterations: updates of the activations in inference; in
    training a step is an update of activations and dictionary.
    frames: of either kind that are learnt from, at most, spread evenly over the sources; 0 for all.
    rate: Hz. n_fft, hop: samples of a window and from one to the next.
    folds: of an UrbanSound8K tree, those that are trained on, joined by "-"; "" for all. Nothing is mixed here:
    seconds, snr_low, snr_high and batch are of the other systems.
    """

    bases: int = 1000
    context: int = 8
    sparsity: float = 5.0
    iterations: int = 50
    frames: int = 20000


def fit(given: Given, settings: Settings, run: Run) -> SparseNMF:
    """Learn the dictionaries from speech and noise; see `fit_system`. There is no checkpoint."""
    if run.resume:
        raise UserError("this model is learnt in one go and keeps no checkpoint; leave --resume out")
    return fit_sounds(*settings.heard(given), settings, run)


def fit_sounds(voices: Sounds, noises: Sounds, settings: Settings, run: Run) -> SparseNMF:
    """The same from recordings by source, at `settings.rate`."""
    model: Any = SparseNMF(
        settings.spectrogram.bins, settings.bases, settings.context, settings.sparsity, settings.iterations
    ).to(run.chosen_device())
    model.spectrogram = settings.spectrogram
    begun = time.monotonic()
    kinds = [torch.from_numpy(_frames(kind, settings)).to(model.dictionary) for kind in (voices, noises)]
    model.history = History(model.learn(*kinds, iterations=run.steps or _ITERATIONS, seed=run.seed))
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
