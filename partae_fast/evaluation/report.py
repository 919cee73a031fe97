"""What can be told of a trained model without clean audio: what it takes away and keeps, whether it partitioned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..masking.mask import gain_of
from ..training.spectrograms import Spectrograms

_CHUNK = 4096  # frames that the model sees at a time; at the ends of each it has zeros around it
# Below these a partition has failed. Seen with preset stowell2015, 1000 steps, penalty 0.75 or 100, on songs at -10 and
# 5 dB in real noise, 13 models: the foreground had 9 to 60 % of the mixture's energy (a rare song would have far less),
# the background 38 to 106 % of the noise's, and noise was attenuated by 9.4 dB more than the rest at least; in 14 that
# were untrained or had no penalty, by 0.5 dB more at most.
_LEAST_FOREGROUND = 1e-3  # of the energy of what may have signal
_LEAST_BACKGROUND = 1e-2  # of the energy of what is noise-only
_LEAST_CONTRAST = 3.0  # dB


@dataclass(frozen=True)
class Report:
    """How a model fares on the recordings that it was trained on, all in dB, by the energy of magnitudes in the band.

    reduction: how much noise-only audio is attenuated.
    kept: how much of what may have signal remains, 0 being all. That has noise in it too: more is not better, but far
        less than the share of the signal is too little.
    reconstruction: signal-to-noise ratio of foreground plus background against the magnitudes. A model that has learnt
        little is near 0. None for one without a partition, whose noise is whatever it does not reconstruct.
    warnings: a line for each sign that the partition failed: the foreground has less than 0.1 % of the energy of what
        may have signal, the background less than 1 % of that of what is noise-only, or the latter is attenuated by less
        than 3 dB more than the former.
    """

    reduction: float
    kept: float
    reconstruction: float | None
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """To print: figures, then warnings."""
        return [
            f"noise-only audio is attenuated by {self.reduction:.1f} dB",
            f"{self.kept:.1f} dB of what may have signal is kept",
            *([] if self.reconstruction is None else [f"reconstruction SNR {self.reconstruction:.1f} dB"]),
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def report(model: Any, spectrograms: Spectrograms) -> Report:
    """Judge a model by the recordings that it was trained on.

    Arguments:
        model: with its mask (`Mask()` where it has none).
        spectrograms: what it was trained on.
    """
    return judge(model, spectrograms.signal, spectrograms.noise)


def judge(model: Any, signal: Sequence[NDArray[np.float32]], noise_only: Sequence[NDArray[np.float32]]) -> Report:
    """`report` by other recordings: magnitudes (frames, bins) of the model's spectrogram, its gain included."""
    mixed, noise = _energies(model, signal), _energies(model, noise_only)
    both = {name: mixed[name] + noise[name] for name in mixed}
    reduction, kept = -_decibels(noise["passed"], noise["all"]), _decibels(mixed["passed"], mixed["all"])
    warnings = []
    if mixed["foreground"] < _LEAST_FOREGROUND * mixed["all"]:
        warnings.append("the foreground is silent: nothing passes as signal; try a lower penalty or more steps")
    partitioned = bool((model.foreground == 0).any())
    if partitioned and noise["background"] < _LEAST_BACKGROUND * noise["all"]:
        warnings.append("the background is empty: noise has no place; try a higher penalty or more steps")
    if kept + reduction < _LEAST_CONTRAST:
        warnings.append(
            "noise-only audio is attenuated little more than what may have signal, so nothing was told apart; try a "
            "higher penalty, more steps, or noise-only audio that is more like the noise in the recordings"
        )
    reconstruction = _decibels(both["all"], both["missed"]) if partitioned else None
    return Report(reduction, kept, reconstruction, tuple(warnings))


def _energies(model: Any, recordings: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Sums over all frames and bins of squares: of x, both parts, what passes the mask, what neither part has."""
    sums: dict[str, float] = dict.fromkeys(("all", "foreground", "background", "passed", "missed"), 0.0)
    for magnitudes in recordings:
        for start in range(0, len(magnitudes), _CHUNK):
            x = magnitudes[None, start : start + _CHUNK]
            with torch.no_grad():
                parts = model.separate(torch.from_numpy(x).to(model.w_enc.device))
            signal, noise = (part.cpu().numpy() for part in parts)
            found = x, signal, noise, gain_of(model, x, signal, noise) * x, x - signal - noise
            for name, part in zip(sums, found, strict=True):
                sums[name] += float(np.square(part, dtype=np.float64).sum())
    return sums


def _decibels(part: float, whole: float) -> float:
    return 10 * math.log10(max(part, 1e-30) / max(whole, 1e-30))
