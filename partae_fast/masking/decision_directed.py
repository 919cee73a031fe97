"""Decision-directed gains: the Wiener filter and the log-spectral estimator (Ephraim & Malah 1984, 1985).

The signal-to-noise ratio of a frame depends on the previous frame. It is computed in blocks that each start a block
early with a ratio of 0, so a frame's gain depends on a bounded number of frames and streams give the same gains as
whole files.
"""

import numpy as np
from numpy.typing import NDArray

BLOCK = 64  # frames in a block
RULES = ("wiener", "log-mmse")


def decision_directed(
    power: NDArray[np.float32], memory: float, least: float, rule: str = "wiener", block: int = BLOCK
) -> NDArray[np.float32]:
    """Return the gain of every frame and bin, in 0 .. 1.

    The ratio r is memory * g^2 p of the previous frame plus (1 - memory) * max(p - 1, 0), and at least `least`. The
    Wiener gain g is r / (1 + r) (Scalart & Filho 1996). The log-spectral gain is r / (1 + r) * exp(E1(v) / 2) with v =
    p r / (1 + r) (Ephraim & Malah 1985).

    Args:
        power: p, power relative to the noise's mean, (N, H); frame 0 is the first of a block.
        memory: weight of the previous frame, in 0 .. 1.
        least: lower limit of r, positive.
        rule: "wiener" or "log-mmse".
        block: frames in a block.
    """
    frames, bins = power.shape
    count = -(-frames // block)
    padded = np.zeros(((1 + count) * block, bins), np.float32)
    padded[block : block + frames] = power
    blocks = np.lib.stride_tricks.as_strided(
        padded, (count, 2 * block, bins), (block * padded.strides[0], *padded.strides), writeable=False
    )
    gain = np.empty((count, block, bins), np.float32)
    before = np.zeros((count, bins), np.float32)
    for frame in range(2 * block):
        p = blocks[:, frame]
        ratio = np.maximum(memory * before + (1 - memory) * np.maximum(p - 1, 0), least)
        wiener = ratio / (1 + ratio)
        g = wiener if rule == "wiener" else _log_mmse(wiener, p)
        before = np.square(g) * p
        if frame >= block:
            gain[:, frame - block] = g
    return gain.reshape(count * block, bins)[:frames]


def _log_mmse(wiener: NDArray[np.floating], p: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the log-spectral gain, at most 1, of the Wiener gain and the relative power."""
    from scipy.special import exp1

    v = np.maximum(wiener * p, 1e-6)
    return np.minimum(wiener * np.exp(0.5 * exp1(v)), 1).astype(np.float32)
