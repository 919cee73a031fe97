"""Mask settings that follow the recordings: the noise level, how cautious the mask is, and its bypass."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .mask import Mask

Magnitudes = NDArray[np.float32]

# Weights of noise and gate where there is little noise-only audio: while models are trained, and for the last of them.
MILD, MILD_END = (0.1, 1.0), (0.25, 1.25)
FEW, MANY = 650, 1500  # noise-only frames: up to FEW a mask is mild, from MANY on it is not
HIGH, HIGH_SHARE = 0.98, 0.28  # this share of this quantile of the noise-only power is the noise level
PREVAILING = 2.5  # the noise level is at most this many times the median power of what may have signal
STEADY = 2.75  # the same quantile over the median, in noise as steady as white noise
BYPASS = 5.0  # in steady noise, power over the noise level from which on all is signal; see `with_bypass`
SILENCE = 1e-8  # of the power of the loudest frame: a quieter frame is digital silence
SAMPLED = 1 << 15  # frames that a quantile is taken of
_STRETCH = 256  # frames that are sampled in one place of a long recording


def cautious(mask: Mask, noise: Sequence[Magnitudes], mild: tuple[float, float] = MILD) -> Mask:
    """A denoising model's mask for so much noise-only audio: the nearer to the mild weights the less there is.

    From a second or two of it no model has learned all that noise can be, and then a strict mask takes away the song
    and not the noise.
    """
    known = min(max((sum(map(len, noise)) - FEW) / (MANY - FEW), 0.0), 1.0)
    noise_weight, gate = (low + known * (high - low) for low, high in zip(mild, (mask.noise, mask.gate), strict=True))
    return replace(mask, noise=noise_weight, gate=gate)


def typical_power(noise: Sequence[Magnitudes], signal: Sequence[Magnitudes]) -> Magnitudes:
    """What a gate takes for the level of noise, (bins,): 0.28 of the 98 % quantile of what `smoothed_power` says.

    In steady noise that is some 2 dB below the mean square. In unsteady noise it is above, by up to 2.5 dB in what was
    measured, for there the gate is to stop its louder moments; but a rare thud, which can raise the mean square by
    10 dB, does not count. Nor does noise that the recordings with signal do not have: it is at most 2.5 times their
    median.
    """
    heard = PREVAILING * quantile_of_power(signal, 0.5)
    return np.minimum(HIGH_SHARE * quantile_of_power(noise, HIGH), heard).astype(np.float32)


def with_bypass(mask: Mask, noise: Sequence[Magnitudes]) -> Mask:
    """The mask with a bypass that noise of this kind does not take: the less steady it is, the higher.

    In steady noise what is a few times louder than its level is signal, even where a model has not learned it. Unsteady
    noise is as loud at times, and there the model alone decides.
    """
    high, median = (quantile_of_power(noise, share) for share in (HIGH, 0.5))
    unsteady = float(np.median(high / np.maximum(median, np.finfo(np.float32).tiny))) / STEADY
    return replace(mask, bypass=BYPASS * min(max(unsteady, 1.0), 1e3) ** 4)


def quantile_of_power(recordings: Sequence[Magnitudes], share: float, frames: int = SAMPLED) -> Magnitudes:
    """The quantile over time of each bin's smoothed power, (bins,), in about so many frames from all over.

    Frames of digital silence are not counted.
    """
    each = max(1, frames // len(recordings))
    power = np.concatenate([smoothed_power(part) for x in recordings for part in _sampled(x, each)])
    level = power.mean(axis=1)
    return np.quantile(power[level >= SILENCE * level.max()], share, axis=0).astype(np.float32)


def _sampled(x: Magnitudes, frames: int) -> Iterator[Magnitudes]:
    """Stretches of a recording, evenly apart, of so many frames in all; the whole of one that has no more."""
    count = 1 if len(x) <= frames else max(1, frames // _STRETCH)
    length = min(len(x), frames // count)
    for start in np.linspace(0, len(x) - length, count).astype(int):
        yield x[start : start + length]


def smoothed_power(magnitudes: Magnitudes) -> Magnitudes:
    """Power in means over 3 frames and 3 bins."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(np.square(magnitudes), 3, mode="nearest"), np.float32)
