"""Metrics of an estimate against a clean signal, computed in float64."""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError

_BSS_LIMIT = 100.0  # dB
# Added to the diagonal of the correlations of the sources, which is 1: white noise at -60 dB. Signals in a band are 0
# outside it; without this load, filters are free there and fit rounding errors. A finch in diffuse noise after a gate
# has an SIR of 27.5 dB over all frequencies; in its band it has 23.0 dB with 1e-10, 27.1 with 1e-6 and 27.6 with 1e-4.
_BSS_LOAD = 1e-6


def snr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Return the signal-to-noise ratio in dB, 10 log10(|s|^2 / |s - e|^2).

    Args:
        reference: s, the clean signal, (T,).
        estimate: e, (T,), at the same level; a difference in level counts as noise.

    Returns:
        The ratio; +inf if both are equal.

    Raises UserError if the signals differ in shape, are empty or not finite, or if the reference is silent.

    >>> round(snr([1.0, 0.0], [1.0, 0.1]), 6)
    20.0
    """
    s, e = _pair(reference, estimate)
    return _decibels(s @ s, (s - e) @ (s - e))


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Return the scale-invariant signal-to-distortion ratio in dB, 10 log10(|a s|^2 / |a s - e|^2).

    Here a = e.s / |s|^2, so a s is the projection of the estimate on the reference. The mean is not removed, as in the
    paper.

    Args:
        reference: s, the clean signal, (T,).
        estimate: e, (T,), at any level.

    Returns:
        The ratio; +inf if the estimate is a multiple of the reference, -inf if it is orthogonal to it or silent.

    Raises UserError as `snr` does.

    Le Roux, Wisdom, Erdogan & Hershey 2019, equation 5.

    >>> round(si_sdr([1.0, 0.0], [5.0, 0.5]), 6)
    20.0
    """
    s, e = _pair(reference, estimate)
    target = (e @ s) / (s @ s) * s
    if not target.any():
        return -np.inf
    return _decibels(target @ target, (target - e) @ (target - e))


def snr_gain(reference: ArrayLike, noisy: ArrayLike, estimate: ArrayLike) -> float:
    """Return the `snr` of the estimate minus that of the noisy signal, in dB.

    Args:
        reference, noisy, estimate: (T,) each, at the same level.

    Raises UserError as `snr` does.

    >>> round(snr_gain([1.0, 0.0], [1.0, 1.0], [1.0, 0.1]), 6)
    20.0
    """
    return snr(reference, estimate) - snr(reference, noisy)


def peak_normalised_mse(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Return the mean squared error of two signals after each is scaled to a peak of 1.

    The error does not depend on the levels, but a single large sample in one signal scales down all its others;
    `si_sdr` does not have this weakness.

    Args:
        reference: the clean signal, (T,).
        estimate: (T,), at any level; a silent estimate is not scaled.

    Raises UserError as `snr` does.

    Lusterman 2016.

    >>> peak_normalised_mse([1.0, 0.0], [-4.0, 0.0])
    2.0
    """
    s, e = _pair(reference, estimate)
    difference = s / np.abs(s).max() - (e / np.abs(e).max() if e.any() else e)
    return float(difference @ difference / len(s))


class Bss(NamedTuple):
    """The three ratios of `bss` in dB."""

    sdr: float
    sir: float
    sar: float


def bss(reference: ArrayLike, interference: ArrayLike, estimate: ArrayLike, taps: int = 512) -> Bss:
    """Return the signal-to-distortion, signal-to-interference and signal-to-artefacts ratios in dB.

    The estimate is the sum of three parts. The target is its projection on the reference, filtered by `taps` taps. The
    interference is what its projection on filtered reference and interference adds to the target. The artefacts are the
    rest. SDR is target over interference plus artefacts, SIR target over interference, and SAR target plus interference
    over artefacts.

    Args:
        reference: the clean signal, (T,).
        interference: the noise in the mixture, (T,).
        estimate: (T,), at any level.
        taps: length of the filters in samples; with 1, only the level of the estimate is free.

    Returns:
        The ratios, limited to [-100, 100]. A component at -60 dB is within the rounding errors, so SDR and SAR of the
        clean signal itself are 60 dB. An estimate that is orthogonal to both sources has an SIR of -100 dB, and all
        three ratios of silence are -100 dB.

    Raises UserError as `snr` does, also for the interference, and if fast_bss_eval is not installed.

    Vincent, Gribonval & Févotte 2006, section III.
    """
    return bss_of_each(reference, interference, [estimate], taps)[0]


def bss_of_each(
    reference: ArrayLike, interference: ArrayLike, estimates: Sequence[ArrayLike], taps: int = 512
) -> list[Bss]:
    """Return `bss` of several estimates of the same signal; the filters of all are computed together, which is faster.

    Args:
        reference: the clean signal, (T,).
        interference: (T,), or (sources, T) with filters for each source.
        estimates: (T,) each.
        taps: as for `bss`.

    Raises UserError as `bss` does.
    """
    others = np.atleast_2d(np.asarray(interference, np.float64))
    pairs = [(_pair(reference, e), [_pair(n, e, "interference") for n in others]) for e in estimates]
    if importlib.util.find_spec("fast_bss_eval") is None:
        raise UserError("SDR, SIR and SAR need fast_bss_eval; `pip install partae-fast[evaluate]`")
    # bss_eval_sources without permutation fails with NumPy 2. With tensors, PyTorch's solver hung in MKL.
    from fast_bss_eval.numpy import square_cosine_metrics  # pyright: ignore[reportMissingImports]

    ratios = [Bss(-_BSS_LIMIT, -_BSS_LIMIT, -_BSS_LIMIT)] * len(pairs)
    audible = [i for i, ((_, e), _) in enumerate(pairs) if e.any()]
    if not audible:
        return ratios
    stacked = np.stack([pairs[i][0][1] for i in audible])
    sources = np.stack([pairs[0][0][0], *others])
    # Shares of each estimate's energy in its projections on the filtered reference, and on all filtered sources.
    cosines = square_cosine_metrics(sources, stacked, filter_length=taps, load_diag=_BSS_LOAD)
    for i, target, projected in zip(audible, *(squares[0].tolist() for squares in cosines), strict=True):
        ratios[i] = Bss(
            sdr=_limited_ratio(target, 1 - target),
            sir=_limited_ratio(target, projected - target),
            sar=_limited_ratio(projected, 1 - projected),
        )
    return ratios


def _limited_ratio(part: float, rest: float) -> float:
    """Return the ratio in dB, within the limit of `bss`; the lower limit if `part` is 0."""
    if part <= 0:
        return -_BSS_LIMIT
    return float(np.clip(10 * np.log10(part / max(rest, 1e-10 * part)), -_BSS_LIMIT, _BSS_LIMIT))


def band(signal: ArrayLike, rate: float, low: float, high: float) -> NDArray[np.float64]:
    """Return a signal with all frequencies outside a band set to 0.

    This is a linear, zero-phase projection. For a metric in a band, apply it to both signals:
    `si_sdr(band(s, ...), band(e, ...))`.

    Args:
        signal: (T,).
        rate: in Hz.
        low, high: ends of the band in Hz, both included.

    Returns:
        (T,) float64.

    Raises UserError unless 0 <= low <= high.
    """
    if not 0 <= low <= high:
        raise UserError(f"band: low is {low} and high {high} Hz; give 0 <= low <= high")
    signal = np.asarray(signal, np.float64)
    spectrum = np.fft.rfft(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(signal))


def _pair(
    reference: ArrayLike, estimate: ArrayLike, name: str = "reference"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    if s.ndim != 1 or s.shape != e.shape:
        raise UserError(
            f"metrics: {name} is {s.shape} and estimate {e.shape}; both must be (samples,), of the same length"
        )
    if not (np.isfinite(s).all() and np.isfinite(e).all()):
        raise UserError(f"metrics: {name} or estimate has NaN or Inf; every sample must be a finite number")
    if not s.any():
        raise UserError(f"metrics: the {name} is silent, so the ratio is undefined; give a signal that is not silent")
    return s, e


def _decibels(signal: Any, noise: Any) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 else np.inf
