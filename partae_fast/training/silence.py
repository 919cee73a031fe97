"""Find digital silence, which some recorders write in place of sound, and leave it out of noise-only audio.

Silence has no noise to learn from: it lowers the measured level of the noise, and a model that is judged by it looks
better than it is.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.offset import offset_window
from ..audio.spectrogram import Spectrogram
from .stored import parts

# A step between samples below this share of the largest is only a rounding error of float32, and so is a magnitude
# below n_fft / 32 times this share of the recording's level: an offset of that level has as much in other bins.
_NOTHING = 1e-6
_SHORTEST_SILENCE = 0.01  # s; shorter runs of equal samples occur in sound of a few bits
_SHORTEST_SOUND = 0.05  # s; less between two silences is a click


def sounding_frames(magnitudes: Any, level: float, spectrogram: Spectrogram) -> NDArray[np.bool_]:
    """Return which frames of magnitudes (frames, bins), in memory or stored, have no digital silence, (frames,).

    `level` is the RMS of the recording's samples. Frames that a silent one overlaps are left out too, since silence
    covers a part of them.
    """
    loudest = np.concatenate([np.zeros(0, np.float32), *(part.max(axis=1, initial=0) for part in parts(magnitudes))])
    silent = loudest <= _NOTHING * level * spectrogram.n_fft / 32
    if not silent.any():
        return ~silent
    # Sound reaches into silence by the average that removes an offset, and silence into sound by a window.
    reach = -(-(spectrogram.n_fft + offset_window(spectrogram)) // spectrogram.hop)
    near = np.convolve(silent, np.ones(2 * reach + 1), mode="full")[reach : reach + len(silent)]
    return near == 0


def sounding_stretches(channel: NDArray[np.float32], rate: int) -> list[NDArray[np.float32]]:
    """Return the stretches (T,) of a channel between runs of digital silence, which is 10 ms of equal samples."""
    steps = np.abs(np.diff(channel))
    silent = np.concatenate([[False], steps <= _NOTHING * steps.max(initial=0.0), [False]])
    edges = np.flatnonzero(np.diff(silent)).reshape(-1, 2)  # from the first equal sample to after the last
    runs = [(int(first), int(last) + 1) for first, last in edges if last - first >= _SHORTEST_SILENCE * rate]
    if not runs:
        return [channel]
    bounds = [0, *(bound for run in runs for bound in run), len(channel)]
    stretches = [channel[start:end] for start, end in zip(bounds[::2], bounds[1::2], strict=True)]
    return [stretch for stretch in stretches if len(stretch) >= _SHORTEST_SOUND * rate]
