"""The level of noise in each bin, from noise-only audio and from the quiet frames of the recordings themselves."""

import numpy as np
from numpy.typing import NDArray

from .rules import smoothed_power

Power = NDArray[np.float32]

QUIET = 0.3  # quantile over time of the smoothed power that is the quiet frames'
ALIKE = 8  # bins on either side over which the ratio of the quiet levels is a median
COMMON = 0.25  # quantile over bins of that ratio by which noise-only audio that is too quiet is raised
_TINY = 1e-20


def noise_level(noise: Power, mixture: Power) -> Power:
    """Return the noise's mean power in the mixture, (bins,).

    It is the mean of the noise-only audio, times the ratio of quiet frames in the mixture to quiet frames in the
    noise-only audio: where the mixture is quieter, noise-only audio is too loud. Upwards the ratio counts only as far
    as most bins share it, for a song raises the quiet frames of its own bins.

    Args:
        noise, mixture: powers (frames, bins).
    """
    from scipy.ndimage import median_filter

    quiet = [np.quantile(smoothed_power(np.sqrt(power)), QUIET, axis=0) for power in (mixture, noise)]
    ratio = np.log(np.maximum(quiet[0], _TINY) / np.maximum(quiet[1], _TINY))
    ratio = np.exp(median_filter(ratio, 2 * ALIKE + 1, mode="nearest"))
    most = max(1.0, float(np.quantile(ratio, COMMON)))
    return (noise.mean(axis=0, dtype=np.float64) * np.minimum(ratio, most)).astype(np.float32)
