"""Scores of the protocol: SI-SDR, STOI for speech, and how well a level detector would find the song."""

import functools

import numpy as np
from numpy.typing import NDArray

from ..metrics import band, si_sdr
from .scenes import Scene
from .speech import has_stoi, stoi

Audio = NDArray[np.float32]

SPEECH = "speech"  # STOI is measured for kinds whose names start with this
_FRAME = 0.02  # seconds in a frame of the level detector
_SOUNDING = -25.0  # dB; a frame has song if its level is above this, relative to the loudest frame
_ONSET_WITHIN = 0.25  # seconds; upper limit of the error of an onset
_FLOOR = 1e-3  # amplitude relative to the mean level, 60 dB, that is added to both levels of the contrast
_LIMIT = 100.0


class Audible:
    """Score estimates of one scene's song.

    si_sdr, si_sdr_full: in the song's band and over all frequencies, in dB.
    contrast: level in the band in frames with song relative to frames without, in dB.
    onset: mean error of the onsets that a level detector finds, in seconds.
    stoi: of speech only, if pystoi is installed.
    """

    def __init__(self, scene: Scene, mixture: Audio, kind: str) -> None:
        self._scene, self._kind = scene, kind
        self._band = functools.partial(band, rate=scene.rate, low=scene.band[0], high=scene.band[1])
        self._song = self._band(scene.song)
        level = self._levels(self._song)
        self._sounding = level >= level.max() * 10 ** (_SOUNDING / 10)

    def of(self, estimate: Audio) -> dict[str, float]:
        """Return the scores by name; NaN for scores that do not apply to the scene."""
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
        """Return the power of each frame."""
        size = max(1, round(_FRAME * self._scene.rate))
        return np.square(x[: len(x) - len(x) % size]).reshape(-1, size).mean(1)

    def _contrast(self, x: NDArray[np.float64]) -> float:
        if self._sounding.all():
            return float("nan")
        level = self._levels(x)
        floor = _FLOOR**2 * level.mean() + np.finfo(float).tiny
        return 10 * np.log10((level[self._sounding].mean() + floor) / (level[~self._sounding].mean() + floor))

    def _onset(self, x: NDArray[np.float64]) -> float:
        """Return the mean distance between true and detected onsets, for the best of several thresholds."""
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
        return stoi(self._scene.song, estimate, self._scene.rate)


def _rises(active: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the frames at which activity starts after 3 or more inactive frames."""
    held = np.convolve(active, np.ones(4), "full")[: len(active)] > 0
    return np.flatnonzero(held & ~np.concatenate([[False], held[:-1]]))
