"""Scores of the protocol: SI-SDR, and what is audible: STOI for speech, and how plain a song is to a detector."""

import functools
import importlib.util
import logging

import numpy as np
from numpy.typing import NDArray

from ..metrics import band, si_sdr
from .scenes import Scene

logger = logging.getLogger("partae_fast")

Audio = NDArray[np.float32]

SPEECH = "speech"  # a kind whose name begins so has STOI
_FRAME = 0.02  # seconds over which a detector takes the level
_SOUNDING = -25.0  # dB below the song's loudest frame, from which on the song is labelled as sounding
_ONSET_WITHIN = 0.25  # seconds; a farther onset counts as missed by so much
_FLOOR = 1e-3  # of the mean level, below which a detector sees nothing: 60 dB in power
_LIMIT = 100.0


class Audible:
    """Scores estimates of one scene.

    si_sdr, si_sdr_full: in the band and over all frequencies, dB. contrast: the level in the band where the song sounds
    over the level where it does not, dB. onset: the mean error of the onsets that a level detector finds, s. stoi: of
    speech alone, where pystoi is installed.
    """

    def __init__(self, scene: Scene, mixture: Audio, kind: str) -> None:
        self._scene, self._kind = scene, kind
        self._band = functools.partial(band, rate=scene.rate, low=scene.band[0], high=scene.band[1])
        self._song = self._band(scene.song)
        level = self._levels(self._song)
        self._sounding = level >= level.max() * 10 ** (_SOUNDING / 10)

    def of(self, estimate: Audio) -> dict[str, float]:
        """Scores by name; NaN for those that the scene does not have."""
        in_band = self._band(estimate)
        scores = {
            "si_sdr": si_sdr(self._song, in_band),
            "si_sdr_full": si_sdr(self._scene.song, estimate),
            "contrast": self._contrast(in_band),
            "onset": self._onset(in_band),
            "stoi": self._stoi(estimate),
        }
        return {name: float(np.clip(score, -_LIMIT, _LIMIT)) for name, score in scores.items()}

    def _levels(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Power of each frame."""
        size = max(1, round(_FRAME * self._scene.rate))
        return np.square(x[: len(x) - len(x) % size]).reshape(-1, size).mean(1)

    def _contrast(self, x: NDArray[np.float64]) -> float:
        if self._sounding.all():
            return float("nan")
        level = self._levels(x)
        floor = _FLOOR**2 * level.mean() + np.finfo(float).tiny
        return 10 * np.log10((level[self._sounding].mean() + floor) / (level[~self._sounding].mean() + floor))

    def _onset(self, x: NDArray[np.float64]) -> float:
        """Mean distance from each true onset to the nearest of the detector, whose threshold is the best of several."""
        truth = _rises(self._sounding)
        if not len(truth):
            return float("nan")
        level = self._levels(x)
        errors = []
        for share in (-25.0, -20.0, -15.0, -10.0, -5.0):
            rises = _rises(level >= level.max() * 10 ** (share / 10))
            if len(rises):
                far = np.abs(truth[:, None] - rises[None]).min(1) * _FRAME
                back = np.abs(rises[:, None] - truth[None]).min(1) * _FRAME
                errors.append(np.minimum(np.concatenate([far, back]), _ONSET_WITHIN).mean())
        return float(min(errors, default=_ONSET_WITHIN))

    def _stoi(self, estimate: Audio) -> float:
        if not self._kind.startswith(SPEECH) or not has_stoi() or not np.any(estimate):
            return float("nan")
        from pystoi import stoi  # pyright: ignore[reportMissingImports]

        return float(stoi(self._scene.song, estimate, self._scene.rate))


def _rises(active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Frames at which something begins after 3 silent frames or more."""
    held = np.convolve(active, np.ones(4), "full")[: len(active)] > 0
    return np.flatnonzero(held & ~np.concatenate([[False], held[:-1]]))


@functools.cache
def has_stoi() -> bool:
    """Whether pystoi is installed; logs, once, where it is not."""
    if importlib.util.find_spec("pystoi") is None:
        logger.warning("skipped: %s", "STOI needs pystoi; `pip install partae-fast[evaluate]`")
        return False
    return True
