"""How close an estimate is to the signal that it should be, in dB but for one. Float64 inside, whatever comes in."""

import importlib.util
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UserError

_BSS_LIMIT = 100.0  # dB
# Added to the diagonal of the sources' correlations, which is 1: white noise at -60 dB. Sources in a band have nothing
# outside it, and filters that are free there explain rounding: a finch in diffuse noise, after a gate, has SIR 27.5 dB
# over all frequencies, and in its band 23.0 dB with 1e-10 here, 27.1 with 1e-6 and 27.6 with 1e-4.
_BSS_LOAD = 1e-6


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


def snr_gain(reference: ArrayLike, noisy: ArrayLike, estimate: ArrayLike) -> float:
    """How many dB of `snr` the estimate has over the noisy signal that it was made of.

    Arguments:
        reference, noisy, estimate: (T,) each, at one level.

    Raises UserError as `snr` does.

    >>> round(snr_gain([1.0, 0.0], [1.0, 1.0], [1.0, 0.1]), 6)
    20.0
    """
    return snr(reference, estimate) - snr(reference, noisy)


def peak_normalised_mse(reference: ArrayLike, estimate: ArrayLike) -> float:
    """Mean squared error of two signals that are scaled to a peak of 1 each, as in Lusterman 2016; 0 where equal.

    Arguments:
        reference: the clean signal, (T,).
        estimate: (T,), at any level; a silent one stays silent.

    A level is forgiven, but one sample that sticks out scales all others down; `si_sdr` has no such weakness. Raises
    UserError as `snr` does.

    >>> peak_normalised_mse([1.0, 0.0], [-4.0, 0.0])
    2.0
    """
    s, e = _pair(reference, estimate)
    difference = s / np.abs(s).max() - (e / np.abs(e).max() if e.any() else e)
    return float(difference @ difference / len(s))


class Bss(NamedTuple):
    """The three ratios of `bss`, in dB."""

    sdr: float
    sir: float
    sar: float


def bss(reference: ArrayLike, interference: ArrayLike, estimate: ArrayLike, taps: int = 512) -> Bss:
    """Signal-to-distortion, -interference and -artefacts ratios in dB (Vincent, Gribonval & Févotte 2006, section III).

    The estimate is taken apart into what a filter of `taps` taps makes of the reference, what such filters make of
    reference and interference together beyond that, and a rest: the target, the interference and the artefacts. SDR is
    target over interference and artefacts, SIR target over interference, SAR target and interference over artefacts.

    Arguments:
        reference: the clean signal, (T,).
        interference: the noise that was mixed with it, (T,).
        estimate: (T,), at any level.
        taps: length of the filters in samples; with 1 nothing but the level is forgiven.

    Every ratio is held within -100 .. 100, and what lies 60 dB below the sources counts as rounding: of the song itself
    SDR and SAR are 60. An estimate that has nothing of either source has SIR -100, and a silent one -100 thrice.

    Raises UserError as `snr` does, for the interference too, and where fast_bss_eval is not installed.
    """
    return bss_of_each(reference, interference, [estimate], taps)[0]


def bss_of_each(
    reference: ArrayLike, interference: ArrayLike, estimates: Sequence[ArrayLike], taps: int = 512
) -> list[Bss]:
    """`bss` of several estimates of one signal, in little more time than of one: filters are found for all at once.

    interference: (T,), or (sources, T), each of which has filters of its own.
    """
    others = np.atleast_2d(np.asarray(interference, np.float64))
    pairs = [(_pair(reference, e), [_pair(n, e, "interference") for n in others]) for e in estimates]
    if importlib.util.find_spec("fast_bss_eval") is None:
        raise UserError("SDR, SIR and SAR need fast_bss_eval; `pip install partae-fast[evaluate]`")
    # Not its bss_eval_sources: without permutation that does not run with NumPy 2; given tensors, PyTorch's solver
    # was seen to hang, in MKL.
    from fast_bss_eval.numpy import square_cosine_metrics  # pyright: ignore[reportMissingImports]

    found = [Bss(-_BSS_LIMIT, -_BSS_LIMIT, -_BSS_LIMIT)] * len(pairs)
    sounding = [i for i, ((_, e), _) in enumerate(pairs) if e.any()]
    if not sounding:
        return found
    heard = np.stack([pairs[i][0][1] for i in sounding])
    # Shares of each estimate's energy that filters of the reference, and of both, can explain.
    cosines = square_cosine_metrics(np.stack([pairs[0][0][0], *others]), heard, filter_length=taps, load_diag=_BSS_LOAD)
    for i, target, both in zip(sounding, *(squares[0].tolist() for squares in cosines), strict=True):
        found[i] = Bss(_held(target, 1 - target), _held(target, both - target), _held(both, 1 - both))
    return found


def _held(part: float, rest: float) -> float:
    """The ratio in dB, within the limit of `bss`; of nothing, whatever the rest, the least."""
    if part <= 0:
        return -_BSS_LIMIT
    return float(np.clip(10 * np.log10(part / max(rest, 1e-10 * part)), -_BSS_LIMIT, _BSS_LIMIT))


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


def _pair(
    reference: ArrayLike, estimate: ArrayLike, name: str = "reference"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    s, e = np.asarray(reference, np.float64), np.asarray(estimate, np.float64)
    if s.ndim != 1 or s.shape != e.shape:
        raise UserError(f"metrics: {name} is {s.shape} and estimate {e.shape}; both must be (samples,), as many")
    if not (np.isfinite(s).all() and np.isfinite(e).all()):
        raise UserError(f"metrics: {name} or estimate has NaN or Inf; every sample must be a finite number")
    if not s.any():
        raise UserError(f"metrics: the {name} is silent, so there is no ratio to it; give one with sound")
    return s, e


def _decibels(signal: Any, noise: Any) -> float:
    return float(10 * np.log10(signal / noise)) if noise > 0 else np.inf
