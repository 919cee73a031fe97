"""Diagnostics of a trained model that need no clean audio: attenuation of the noise, signs of a failed partition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..masking.mask import gain_of
from ..training.spectrograms import Spectrograms

_CHUNK = 4096  # frames per pass; the model pads the ends of each chunk with zeros
# Below these thresholds the partition has failed. They were set from 27 models of the preset stowell2015 (1000 steps,
# songs at -10 and 5 dB in recorded noise). In the 13 trained with penalty 0.75 or 100, the foreground had 9 to 60 % of
# the mixture's energy, the background 38 to 106 % of the noise's, and noise was attenuated by at least 9.4 dB more
# than the rest. In the 14 that were untrained or had no penalty, it was attenuated by at most 0.5 dB more.
_MIN_FOREGROUND = 1e-3  # of the energy of the recordings that may contain signal; a rare song has far less than 9 %
_MIN_BACKGROUND = 1e-2  # of the energy of the noise-only recordings
_MIN_CONTRAST = 3.0  # dB


@dataclass(frozen=True)
class Diagnostics:
    """Energy ratios of a model on the recordings it was trained on, in dB, from magnitudes in the band.

    Attributes:
        reduction: attenuation of the noise-only audio.
        kept: energy that remains of the audio that may contain signal; 0 dB is all of it. This audio contains noise
            too, so a higher value is not better, but a value far below the signal's share means that signal is lost.
        reconstruction: signal-to-noise ratio of foreground plus background against the input magnitudes. It is near
            0 dB for a model that has learned little, and None for a model without a partition.
        warnings: one line for each sign of a failed partition: the foreground has less than 0.1 % of the energy of the
            audio that may contain signal; the background has less than 1 % of the energy of the noise-only audio; the
            noise-only audio is attenuated by less than 3 dB more than the rest.
    """

    reduction: float
    kept: float
    reconstruction: float | None
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the ratios, then the warnings, as lines of text."""
        return [
            f"noise-only audio is attenuated by {self.reduction:.1f} dB",
            f"audio that may contain signal keeps {self.kept:.1f} dB of its energy",
            *([] if self.reconstruction is None else [f"reconstruction SNR {self.reconstruction:.1f} dB"]),
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def diagnose(model: Any, spectrograms: Spectrograms) -> Diagnostics:
    """Measure a model on the recordings it was trained on.

    Args:
        model: with its mask; `Mask()` is used if it has none.
        spectrograms: its training data.
    """
    return diagnose_magnitudes(model, spectrograms.signal, spectrograms.noise)


def diagnose_magnitudes(
    model: Any, signal: Sequence[NDArray[np.float32]], noise_only: Sequence[NDArray[np.float32]]
) -> Diagnostics:
    """Measure a model on magnitudes (frames, bins) of its spectrogram, scaled by the spectrogram's gain.

    Args:
        model: as for `diagnose`.
        signal: recordings that may contain signal.
        noise_only: recordings without signal.
    """
    mixed, noise = _energies(model, signal), _energies(model, noise_only)
    total = {name: mixed[name] + noise[name] for name in mixed}
    reduction, kept = -_decibels(noise["output"], noise["input"]), _decibels(mixed["output"], mixed["input"])
    warnings = []
    if mixed["foreground"] < _MIN_FOREGROUND * mixed["input"]:
        warnings.append("the foreground is silent: nothing passes as signal; try a lower penalty or more steps")
    partitioned = bool((model.foreground == 0).any())
    if partitioned and noise["background"] < _MIN_BACKGROUND * noise["input"]:
        warnings.append("the background is empty: it models no noise; try a higher penalty or more steps")
    if kept + reduction < _MIN_CONTRAST:
        warnings.append(
            "signal and noise are not separated: noise-only audio is attenuated little more than the rest; try a "
            "higher penalty, more steps, or noise-only audio that is closer to the noise in the recordings"
        )
    reconstruction = _decibels(total["input"], total["residual"]) if partitioned else None
    return Diagnostics(reduction, kept, reconstruction, tuple(warnings))


def _energies(model: Any, recordings: Sequence[NDArray[np.float32]]) -> dict[str, float]:
    """Return sums of squares over all frames and bins: input, foreground, background, masked output, residual."""
    sums: dict[str, float] = dict.fromkeys(("input", "foreground", "background", "output", "residual"), 0.0)
    for magnitudes in recordings:
        for start in range(0, len(magnitudes), _CHUNK):
            x = magnitudes[None, start : start + _CHUNK]
            with torch.no_grad():
                estimates = model.separate(torch.from_numpy(x).to(model.w_enc.device))
            signal, noise = (estimate.cpu().numpy() for estimate in estimates)
            arrays = x, signal, noise, gain_of(model, x, signal, noise) * x, x - signal - noise
            for name, array in zip(sums, arrays, strict=True):
                sums[name] += float(np.square(array, dtype=np.float64).sum())
    return sums


def _decibels(energy: float, reference: float) -> float:
    return 10 * math.log10(max(energy, 1e-30) / max(reference, 1e-30))
