"""STOI and PESQ of speech, by the packages pystoi and pesq."""

import functools
import importlib.util
import logging

import numpy as np
from numpy.typing import NDArray

from ..audio.resample import resample
from ..errors import UserError

logger = logging.getLogger("partae_fast")

Audio = NDArray[np.float32]

METRICS = ("stoi", "pesq")
_WIDE, _NARROW = 16000, 8000  # Hz: the rates of PESQ's two bands
_LOWEST = {"stoi": 0.0, "pesq": 1.0}  # of an estimate in which there is no speech


class SpeechScores:
    """Scores of estimates of one speech signal.

    Args:
        clean: the signal (T,).
        rate: in Hz. PESQ is wideband (ITU-T P.862.2) at 16 kHz, to which higher rates are resampled, and otherwise
            narrowband (P.862) at 8 kHz.

    Raises UserError if a package is missing, if the rate is below 8 kHz, or if PESQ finds no speech in the signal.
    """

    def __init__(self, clean: Audio, rate: int) -> None:
        for package in ("pystoi", "pesq"):
            require(package)
        if rate < _NARROW:
            raise UserError(f"the rate is {rate} Hz; PESQ needs {_NARROW} Hz or more: leave --speech out")
        self._clean, self._rate = clean, rate
        self._pesq_rate, self._band = (_WIDE, "wb") if rate >= _WIDE else (_NARROW, "nb")
        self._resampled = resample(clean, rate, self._pesq_rate)
        if self._pesq(clean) is None:
            raise UserError("PESQ finds no speech in the clean recording, or less than 0.25 s; leave --speech out")

    def of(self, estimate: Audio) -> dict[str, float]:
        """Return "stoi", from 0 to 1, and "pesq", from 1 to about 4.6; the lowest values for a silent estimate."""
        if not np.any(estimate):
            return dict(_LOWEST)
        score = self._pesq(estimate)
        return {"stoi": stoi(self._clean, estimate, self._rate), "pesq": _LOWEST["pesq"] if score is None else score}

    def _pesq(self, estimate: Audio) -> float | None:
        """Return the score, or None if PESQ finds no speech."""
        import pesq  # pyright: ignore[reportMissingImports]

        degraded = resample(np.asarray(estimate, np.float32), self._rate, self._pesq_rate)
        try:
            return float(pesq.pesq(self._pesq_rate, self._resampled, degraded, self._band))
        except pesq.PesqError:
            return None


def stoi(clean: Audio, estimate: Audio, rate: int) -> float:
    """Return the short-time objective intelligibility (Taal et al. 2011); pystoi must be installed."""
    from pystoi import stoi  # pyright: ignore[reportMissingImports]

    return float(stoi(clean, estimate, rate))


def require(package: str) -> None:
    """Raise UserError if a package of this module is missing."""
    if importlib.util.find_spec(package) is None:
        name = {"pystoi": "STOI", "pesq": "PESQ"}[package]
        raise UserError(f"{name} needs {package}; `pip install partae-fast[evaluate]`")


@functools.cache
def has_stoi() -> bool:
    """Return whether pystoi is installed; the first call warns if it is not."""
    try:
        require("pystoi")
    except UserError as error:
        logger.warning("skipped: %s", error)
        return False
    return True
