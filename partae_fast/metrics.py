"""How close an estimate is to the signal that it should be, in dB. Float64 inside, whatever comes in."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError


def snr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Signal-to-noise ratio in dB: 10 log10(|s|^2 / |s - e|^2), all that differs being noise.

    Arguments:
        reference: s, the clean signal, (T,).
        estimate: e, (T,), at the same level: another level counts as noise.

    Returns +inf where the two are equal. Raises UserError where they differ in shape, are empty or not
    finite, or where the reference is silent, as then there is no ratio.

    >>> round(snr([1.0, 0.0], [1.0, 0.1]), 6)
    20.0
    """
    s, e = _pair(reference, estimate)
    return _decibels(s @ s, (s - e) @ (s - e))


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB (Le Roux, Wisdom, Erdogan & Hershey 2019, equation 5).

    10 log10(|a s|^2 / |a s - e|^2) with a = e.s / |s|^2: the estimate's part along the reference against
    the rest. As in the paper, the mean is not removed.

    Arguments:
        reference: s, the clean signal, (T,).
        estimate: e, (T,), at any level.

    Returns +inf where the estimate is a multiple of the reference, -inf where it has nothing of it (silence
    too). Raises UserError as `snr` does.

    >>> round(si_sdr([1.0, 0.0], [5.0, 0.5]), 6)
    20.0
    """
    s, e = _pair(reference, estimate)
    target = (e @ s) / (s @ s) * s
    if not target.any():
        return -np.inf
    return _decibels(target @ target, (target - e) @ (target - e))


def band(signal: ArrayLike, rate: float, low: float, high: float) -> NDArray[np.float64]:
    """The part of `signal` (T,) from `low` to `high` Hz, both included, (T,): its other frequencies set to 0.

    Zero-phase, linear, and doing it twice changes nothing more, so that ratios of two signals in a band are
    those of their parts in the band: `si_sdr(band(s, ...), band(e, ...))`. Raises UserError unless 0 <= low
    <= high.
    """
    if not 0 <= low <= high:
        raise UserError(f"band: from {low} to {high} Hz; give 0 <= low <= high")
    signal = np.asarray(signal, np.float64)
    spectrum = np.fft.rfft(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(signal))


def _pair(reference: ArrayLike, estimate: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    if s.ndim != 1 or s.shape != e.shape:
        raise UserError(f"metrics: reference is {s.shape} and estimate {e.shape}; both must be (samples,), as many")
    if not (np.isfinite(s).all() and np.isfinite(e).all()):
        raise UserError("metrics: reference or estimate has NaN or Inf; every sample must be a finite number")
    if not s.any():
        raise UserError("metrics: the reference is silent, so there is no ratio to it; give one with sound")
    return s, e


def _decibels(signal: Any, noise: Any) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 else np.inf
