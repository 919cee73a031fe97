"""Measures of how close an estimate is to the clean signal, computed in float64."""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError

_BSS_LIMIT = 100.0  # dB
# Added to the diagonal of the sources' correlations, which is 1: white noise at -60 dB. Band-limited sources have no
# energy outside the band, and filters without this load fit rounding errors there. A gated finch in diffuse noise has
# SIR 27.5 dB over all frequencies, and in its band 23.0 dB with a load of 1e-10, 27.1 with 1e-6 and 27.6 with 1e-4.
_BSS_LOAD = 1e-6


def snr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the signal-to-noise ratio in dB: 10 log10(|s|^2 / |s - e|^2).

    Args:
        reference: s, the clean signal, (T,).
        estimate: e, (T,). Its level must match: a difference in level counts as noise.

    Returns +inf if the two are equal. Raises UserError if they differ in shape, are empty or not finite, or if the
    reference is silent.

    >>> round(snr([1.0, 0.0], [1.0, 0.1]), 6)
    20.0
    """
    s, e = _check_pair(reference, estimate)
    return _decibels(s @ s, (s - e) @ (s - e))


def si_sdr(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the scale-invariant signal-to-distortion ratio in dB.

    10 log10(|a s|^2 / |a s - e|^2) with a = e.s / |s|^2: the energy of the estimate's projection on the reference over
    the energy of the rest (Le Roux, Wisdom, Erdogan & Hershey 2019, equation 5). As in the paper, the mean is not
    removed.

    Args:
        reference: s, the clean signal, (T,).
        estimate: e, (T,), at any level.

    Returns +inf if the estimate is a multiple of the reference, and -inf if it is orthogonal to the reference or
    silent. Raises UserError as `snr` does.

    >>> round(si_sdr([1.0, 0.0], [5.0, 0.5]), 6)
    20.0
    """
    s, e = _check_pair(reference, estimate)
    target = (e @ s) / (s @ s) * s
    if not target.any():
        return -np.inf
    return _decibels(target @ target, (target - e) @ (target - e))


def snr_gain(reference: ArrayLike, noisy: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the improvement in `snr` of an estimate over the noisy signal, in dB.

    Args:
        reference: the clean signal, (T,).
        noisy: the noisy signal, (T,), at the level of the reference.
        estimate: (T,), at the level of the reference.

    Raises UserError as `snr` does.

    >>> round(snr_gain([1.0, 0.0], [1.0, 1.0], [1.0, 0.1]), 6)
    20.0
    """
    return snr(reference, estimate) - snr(reference, noisy)


def peak_normalised_mse(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Compute the mean squared error of two signals scaled to a peak of 1.

    The measure is from Lusterman 2016.

    The level of the estimate does not matter, but a single outlying sample scales all others down; `si_sdr` does not
    have this weakness.

    Args:
        reference: the clean signal, (T,).
        estimate: (T,), at any level; a silent estimate is not scaled.

    Raises UserError as `snr` does.

    >>> peak_normalised_mse([1.0, 0.0], [-4.0, 0.0])
    2.0
    """
    s, e = _check_pair(reference, estimate)
    difference = s / np.abs(s).max() - (e / np.abs(e).max() if e.any() else e)
    return float(difference @ difference / len(s))


class Bss(NamedTuple):
    """Signal-to-distortion, -interference and -artefacts ratios in dB; see `bss`."""

    sdr: float
    sir: float
    sar: float


def bss(reference: ArrayLike, interference: ArrayLike, estimate: ArrayLike, taps: int = 512) -> Bss:
    """Compute the signal-to-distortion, -interference and -artefacts ratios in dB.

    The estimate is decomposed into three parts (Vincent, Gribonval & Févotte 2006, section III). The target is the part
    that a filter of `taps` taps can produce from the reference. The interference is the part that such filters can
    produce from reference and interference together, minus the target. The artefacts are the rest. SDR is the energy
    ratio of target to interference and artefacts, SIR of target to interference, and SAR of target and interference to
    artefacts.

    Args:
        reference: the clean signal, (T,).
        interference: the noise in the mixture, (T,).
        estimate: (T,), at any level.
        taps: length of the filters in samples; with 1, only the level may differ from the reference.

    All ratios are clipped to -100 .. 100. Differences 60 dB below the sources count as rounding, so that SDR and SAR of
    the clean signal itself are 60. SIR is -100 if the estimate contains neither source, and all three ratios are -100
    if it is silent.

    Raises UserError as `snr` does, also for the interference, and if fast_bss_eval is not installed.
    """
    return bss_of_each(reference, interference, [estimate], taps)[0]


def bss_of_each(
    reference: ArrayLike, interference: ArrayLike, estimates: Sequence[ArrayLike], taps: int = 512
) -> list[Bss]:
    """Compute `bss` of several estimates of one signal.

    This takes little more time than for one estimate.

    Args:
        reference: the clean signal, (T,).
        interference: (T,), or (sources, T) with separate filters for each source.
        estimates: (T,) each.
        taps: as for `bss`.
    """
    others = np.atleast_2d(np.asarray(interference, np.float64))
    pairs = [(_check_pair(reference, e), [_check_pair(n, e, "interference") for n in others]) for e in estimates]
    if importlib.util.find_spec("fast_bss_eval") is None:
        raise UserError("SDR, SIR and SAR need fast_bss_eval; `pip install partae-fast[evaluate]`")
    # fast_bss_eval.bss_eval_sources without permutation fails with NumPy 2, and with tensors PyTorch's solver has hung
    # in MKL.
    from fast_bss_eval.numpy import square_cosine_metrics  # pyright: ignore[reportMissingImports]

    ratios = [Bss(-_BSS_LIMIT, -_BSS_LIMIT, -_BSS_LIMIT)] * len(pairs)
    audible = [i for i, ((_, e), _) in enumerate(pairs) if e.any()]
    if not audible:
        return ratios
    stacked = np.stack([pairs[i][0][1] for i in audible])
    sources = np.stack([pairs[0][0][0], *others])
    # Shares of each estimate's energy that filters of the reference, and of all sources, can explain.
    cosines = square_cosine_metrics(sources, stacked, filter_length=taps, load_diag=_BSS_LOAD)
    for i, target, all_sources in zip(audible, *(squares[0].tolist() for squares in cosines), strict=True):
        ratios[i] = Bss(
            sdr=_clipped_decibels(target, 1 - target),
            sir=_clipped_decibels(target, all_sources - target),
            sar=_clipped_decibels(all_sources, 1 - all_sources),
        )
    return ratios


def _clipped_decibels(part: float, rest: float) -> float:
    """Return part / rest in dB, clipped to the limits of `bss`."""
    if part <= 0:
        return -_BSS_LIMIT
    return float(np.clip(10 * np.log10(part / max(rest, 1e-10 * part)), -_BSS_LIMIT, _BSS_LIMIT))


def band(signal: ArrayLike, rate: float, low: float, high: float) -> NDArray[np.float64]:
    """Set all frequencies of a signal outside `low` .. `high` Hz to 0.

    The signal is (T,), and both ends of the band are included.

    The filter is linear, has zero phase and is idempotent. To score an estimate in a band, filter both signals:
    `si_sdr(band(s, ...), band(e, ...))`.

    Raises UserError unless 0 <= low <= high.
    """
    if not 0 <= low <= high:
        raise UserError(f"band: from {low} to {high} Hz; give 0 <= low <= high")
    signal = np.asarray(signal, np.float64)
    spectrum = np.fft.rfft(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / rate)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    return np.fft.irfft(spectrum, len(signal))


def _check_pair(
    reference: ArrayLike, estimate: ArrayLike, name: str = "reference"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two signals in float64; raise UserError if their ratio is undefined."""
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    if s.ndim != 1 or s.shape != e.shape:
        raise UserError(f"metrics: {name} is {s.shape} and estimate {e.shape}; both must be (samples,), equally long")
    if not (np.isfinite(s).all() and np.isfinite(e).all()):
        raise UserError(f"metrics: {name} or estimate has NaN or Inf; every sample must be a finite number")
    if not s.any():
        raise UserError(f"metrics: the {name} is silent, so the ratio is not defined; give a signal that is not silent")
    return s, e


def _decibels(signal: Any, noise: Any) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 else np.inf
