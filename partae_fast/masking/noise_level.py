"""The noise level in each bin, from noise-only audio and from the quiet frames of the recordings."""

import numpy as np
from numpy.typing import NDArray

from .rules import smoothed_power

Power = NDArray[np.float32]

QUIET = 0.3  # quantile over time of the smoothed power: the level of quiet frames
ALIKE = 8  # bins on each side in the median filter of the ratio of quiet levels
COMMON = 0.25  # quantile of that ratio over bins: upper limit of the factor on noise-only audio, if above 1
_TINY = 1e-20


def noise_level(noise: Power, mixture: Power) -> Power:
    """Return the mean power of the noise in the mixture, (bins,).

    It is the mean power of the noise-only audio, times the ratio of the quiet level of the mixture to that of the
    noise-only audio. The ratio corrects noise-only audio that is too loud or too quiet. Ratios above 1 are limited to
    the ratio that three quarters of the bins exceed, because a song raises the quiet level in its own bins.

    Args:
        noise, mixture: powers (frames, bins).
    """
    from scipy.ndimage import median_filter

    quiet = [np.quantile(smoothed_power(np.sqrt(power)), QUIET, axis=0) for power in (mixture, noise)]
    ratio = np.log(np.maximum(quiet[0], _TINY) / np.maximum(quiet[1], _TINY))
    ratio = np.exp(median_filter(ratio, 2 * ALIKE + 1, mode="nearest"))
    most = max(1.0, float(np.quantile(ratio, COMMON)))
    return (noise.mean(axis=0, dtype=np.float64) * np.minimum(ratio, most)).astype(np.float32)
