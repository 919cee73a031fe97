"""Rules that derive mask settings from recordings: noise level, noise and gate weights, and bypass."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .mask import Mask

Magnitudes = NDArray[np.float32]

# Weights of noise and gate for little noise-only audio: for the models trained first, and for the final one.
MILD, MILD_END = (0.1, 1.0), (0.25, 1.25)
FEW, MANY = 650, 1500  # noise-only frames: a mask has the mild weights up to FEW, and its own from MANY on
HIGH, HIGH_SHARE = 0.98, 0.28  # the noise level is HIGH_SHARE times the HIGH quantile of the noise-only power
PREVAILING = 2.5  # upper bound of the noise level, in medians of the power of recordings with signal
STEADY = 2.75  # ratio of the HIGH quantile to the median in white noise
BYPASS = 5.0  # bypass for steady noise; see `with_bypass`
SILENCE = 1e-8  # a frame below this share of the loudest frame's power is digital silence
SAMPLED = 1 << 15  # frames that a quantile is computed from
_STRETCH = 256  # consecutive frames sampled from a long recording


def cautious(mask: Mask, noise: Sequence[Magnitudes], mild: tuple[float, float] = MILD) -> Mask:
    """Return the mask with noise and gate weights closer to the mild ones, the less noise-only audio there is.

    A model that has learned from one or two seconds of noise-only audio does not know all of the noise, and a strict
    mask would remove signal rather than noise.
    """
    share = min(max((sum(map(len, noise)) - FEW) / (MANY - FEW), 0.0), 1.0)
    noise_weight, gate = (low + share * (high - low) for low, high in zip(mild, (mask.noise, mask.gate), strict=True))
    return replace(mask, noise=noise_weight, gate=gate)


def typical_power(noise: Sequence[Magnitudes], signal: Sequence[Magnitudes]) -> Magnitudes:
    """Return the noise level for a gate, (bins,): 0.28 times the 98 % quantile of `smoothed_power`.

    In steady noise this is about 2 dB below the mean square. In unsteady noise it is up to 2.5 dB above it in our
    measurements, so that the gate removes the louder moments. A rare thud, which can raise the mean square by 10 dB,
    has no effect. The level is at most 2.5 times the median power of the recordings with signal, which excludes noise
    that these recordings do not have.
    """
    upper_bound = PREVAILING * quantile_of_power(signal, 0.5)
    return np.minimum(HIGH_SHARE * quantile_of_power(noise, HIGH), upper_bound).astype(np.float32)


def with_bypass(mask: Mask, noise: Sequence[Magnitudes]) -> Mask:
    """Return the mask with a bypass that excludes the noise: the less steady the noise, the higher the bypass.

    In steady noise, sound a few times louder than the noise level is signal, even if the model has not learned it.
    Unsteady noise is sometimes as loud, so only the model can separate it from signal.
    """
    high, median = (quantile_of_power(noise, share) for share in (HIGH, 0.5))
    unsteadiness = float(np.median(high / np.maximum(median, np.finfo(np.float32).tiny))) / STEADY
    return replace(mask, bypass=BYPASS * min(max(unsteadiness, 1.0), 1e3) ** 4)


def quantile_of_power(recordings: Sequence[Magnitudes], share: float, frames: int = SAMPLED) -> Magnitudes:
    """Return the quantile over time of each bin's smoothed power, (bins,), without frames of digital silence.

    It is computed from about `frames` frames, sampled evenly from all recordings.
    """
    frames_each = max(1, frames // len(recordings))
    power = np.concatenate([smoothed_power(part) for x in recordings for part in _stretches(x, frames_each)])
    level = power.mean(axis=1)
    return np.quantile(power[level >= SILENCE * level.max()], share, axis=0).astype(np.float32)


def _stretches(x: Magnitudes, frames: int) -> Iterator[Magnitudes]:
    """Yield evenly spaced stretches of a recording with `frames` frames in total, or all of a shorter recording."""
    count = 1 if len(x) <= frames else max(1, frames // _STRETCH)
    length = min(len(x), frames // count)
    for start in np.linspace(0, len(x) - length, count).astype(int):
        yield x[start : start + length]


def smoothed_power(magnitudes: Magnitudes) -> Magnitudes:
    """Return the power, averaged over 3 frames and 3 bins."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(np.square(magnitudes), 3, mode="nearest"), np.float32)
