"""Diagnostics of a trained model that need no clean audio: attenuation of the noise, signs of a failed partition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..masking.mask import gain_of
from ..models.conv_autoencoder import ConvAutoencoder
from ..training.spectrograms import Spectrograms

_CHUNK = 4096  # frames per pass; the model pads the ends of each chunk with zeros
# Below these thresholds the partition has failed. They were set from 27 models of the preset stowell2015 (1000 steps,
# songs at -10 and 5 dB in recorded noise). In the 13 trained with penalty 0.75 or 100, the foreground had 9 to 60 % of
# the mixture's energy, the background 38 to 106 % of the noise's, and noise was attenuated by at least 9.4 dB more
# than the rest. In the 14 that were untrained or had no penalty, it was attenuated by at most 0.5 dB more; in some
# octave by at most 2.1 dB more, in scenes with rumble and gusts.
_MIN_FOREGROUND = 1e-3  # of the energy of the recordings that may contain signal; a rare song has far less than 9 %
_MIN_BACKGROUND = 1e-2  # of the energy of the noise-only recordings
_MIN_CONTRAST = 3.0  # dB
_LEAST_BINS = 8  # of an octave; the contrast of fewer bins is a matter of chance
_AUDIBLE = 1e-8  # share of the loudest bin's power; quieter bins have only rounding errors


@dataclass(frozen=True)
class Octave:
    """Attenuation and kept energy in the band from `low` to `high` Hz, in dB; see `Diagnostics`."""

    low: float
    high: float
    reduction: float
    kept: float


@dataclass(frozen=True)
class Diagnostics:
    """Energy ratios of a model on the recordings it was trained on, in dB, from magnitudes in the band.

    Energies of a bin are relative to the noise in that bin, so every frequency counts equally. In sums of energies,
    rumble at low frequencies would outweigh everything else.

    Attributes:
        reduction: attenuation of the noise-only audio.
        kept: energy that remains of the audio that may contain signal; 0 dB is all of it. This audio contains noise
            too, so a higher value is not better, but a value far below the signal's share means that signal is lost.
        reconstruction: signal-to-noise ratio of foreground plus background against the input magnitudes. It is near
            0 dB for a model that has learned little, and None for a model without a partition.
        octaves: the same ratios by octave, from low to high frequencies.
        total_reduction, total_kept: the same ratios of the total energy.
        warnings: one line for each sign of a failed partition: the foreground has less than 0.1 % of the energy of the
            audio that may contain signal, on average over the bins; the background has less than 1 % of the energy of
            the noise-only audio; in no octave is noise-only audio attenuated by 3 dB more than the rest.
    """

    reduction: float
    kept: float
    reconstruction: float | None
    octaves: tuple[Octave, ...]
    total_reduction: float
    total_kept: float
    warnings: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the ratios, then the warnings, as lines of text."""
        octaves = ", ".join(f"{_hertz(o.low, o.high)} {_text(o.reduction)} and {_text(o.kept)}" for o in self.octaves)
        return [
            f"noise-only audio is attenuated by {_text(self.reduction)} dB",
            f"audio that may contain signal keeps {_text(self.kept)} dB of its energy",
            *([f"by octave, both in dB: {octaves}"] if len(self.octaves) > 1 else []),
            *([] if self.reconstruction is None else [f"reconstruction SNR {_text(self.reconstruction)} dB"]),
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def diagnose(model: ConvAutoencoder, spectrograms: Spectrograms) -> Diagnostics:
    """Measure a model on the recordings it was trained on.

    Args:
        model: with its mask; `Mask()` is used if it has none.
        spectrograms: its training data.
    """
    return diagnose_magnitudes(model, spectrograms.spectrogram.frequencies, spectrograms.signal, spectrograms.noise)


def diagnose_magnitudes(
    model: Any,
    frequencies: NDArray[np.floating],
    signal: Sequence[NDArray[np.float32]],
    noise_only: Sequence[NDArray[np.float32]],
) -> Diagnostics:
    """Measure a model on magnitudes (frames, bins) of its spectrogram, scaled by the spectrogram's gain.

    Args:
        model: as for `diagnose`.
        frequencies: of the bins, in Hz.
        signal: recordings that may contain signal.
        noise_only: recordings without signal.
    """
    mixed, noise = _energies(model, signal), _energies(model, noise_only)
    weights = _weights(noise["input"], mixed["input"])
    whole = slice(0, len(frequencies))

    def ratios(bins: slice, weights: NDArray[np.float64] = weights) -> tuple[float, float]:
        """Return the attenuation of the noise and the kept energy of the rest, in some of the bins."""
        sums = [float((part[name] * weights)[bins].sum()) for part in (noise, mixed) for name in ("output", "input")]
        return -_decibels(sums[0], sums[1]), _decibels(sums[2], sums[3])

    octaves = tuple(
        Octave(float(frequencies[bins.start]), float(frequencies[bins.stop - 1]), *ratios(bins))
        for bins in _octaves(frequencies)
    )
    (reduction, kept), (total_reduction, total_kept) = ratios(whole), ratios(whole, np.ones_like(weights))
    warnings = []
    if _mean_share(mixed["foreground"], mixed["input"], weights) < _MIN_FOREGROUND:
        warnings.append("the foreground is silent: nothing passes as signal; try a lower penalty or more steps")
    partitioned = bool((model.foreground == 0).any())
    if partitioned and _mean_share(noise["background"], noise["input"], weights) < _MIN_BACKGROUND:
        warnings.append("the background is empty: it models no noise; try a higher penalty or more steps")
    if max(ratio.kept + ratio.reduction for ratio in octaves) < _MIN_CONTRAST:
        warnings.append(
            "signal and noise are not separated: noise-only audio is attenuated little more than the rest; try a "
            "higher penalty, more steps, or noise-only audio that is closer to the noise in the recordings"
        )
    total, residual = (float((mixed[name] + noise[name]).sum()) for name in ("input", "residual"))
    reconstruction = _decibels(total, residual) if partitioned else None
    return Diagnostics(reduction, kept, reconstruction, octaves, total_reduction, total_kept, tuple(warnings))


def _weights(noise: NDArray[np.float64], mixed: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weight of each bin: 1 over the energy of its noise, and 0 for a bin with rounding errors only."""
    if not noise.any():
        return np.ones_like(noise)
    audible = (noise > _AUDIBLE * noise.max()) | (mixed > _AUDIBLE * mixed.max())
    return np.where(audible, noise.max() / np.maximum(noise, _AUDIBLE * noise.max()), 0.0)


def _octaves(frequencies: NDArray[np.floating]) -> list[slice]:
    """Return the bins of each octave, counted down from the highest frequency; the lowest may be several octaves.

    An octave has at least 8 bins.
    """
    octaves, stop, top = [], len(frequencies), float(frequencies[-1])
    while stop:
        start = int(np.searchsorted(frequencies[:stop], top / 2))
        enough = stop - start >= _LEAST_BINS and start >= _LEAST_BINS
        octaves.append(slice(start if enough else 0, stop))
        stop, top = octaves[-1].start, top / 2
    return octaves[::-1]


def _mean_share(part: NDArray[np.float64], whole: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the mean over the bins with a weight of the share that `part` has of a bin's energy, at most 1."""
    measured = (weights > 0) & (whole > 0)
    return float(np.minimum(part[measured] / whole[measured], 1.0).mean()) if measured.any() else 0.0


def _hertz(low: float, high: float) -> str:
    """Return a band as text, such as 86-1292 Hz or 1.4-2.8 kHz."""
    return f"{low:.0f}-{high:.0f} Hz" if low < 1000 else f"{low / 1000:.2g}-{high / 1000:.2g} kHz"


def _text(decibels: float) -> str:
    """Return a ratio with one decimal; 0 has no sign."""
    return f"{round(decibels, 1) + 0.0:.1f}"


def _energies(model: ConvAutoencoder, recordings: Sequence[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """Return sums of squares over all frames, (bins,): input, foreground, background, masked output, residual."""
    names = ("input", "foreground", "background", "output", "residual")
    sums = {name: np.zeros(recordings[0].shape[1]) for name in names}
    for magnitudes in recordings:
        for start in range(0, len(magnitudes), _CHUNK):
            x = magnitudes[None, start : start + _CHUNK]
            with torch.no_grad():
                estimates = model.separate(torch.from_numpy(x).to(model.w_enc.device))
            signal, noise = (estimate.cpu().numpy() for estimate in estimates)
            arrays = x, signal, noise, gain_of(model, x, signal, noise) * x, x - signal - noise
            for name, array in zip(sums, arrays, strict=True):
                sums[name] += np.square(array[0], dtype=np.float64).sum(axis=0)
    return sums


def _decibels(energy: float, reference: float) -> float:
    return 10 * math.log10(max(energy, 1e-30) / max(reference, 1e-30))
