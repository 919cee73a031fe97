"""What a page shows of a recording: which stretch of it, and the signal and noise that a model makes of that."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.files import AudioInfo, PathLike, blocks, info, read
from ..denoising.denoise import chunking, denoise, denoise_blocks
from ..errors import UserError

# Of a long recording as much is searched for the loudest signal, in steps of a second.
SEARCHED = 3600.0
# Seconds on either side, at least, that are denoised too, so that the excerpt has no edges of its own.
_AROUND = 1.0
_FAR = 60.0  # seconds before the excerpt, at most, where denoising begins

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Excerpt:
    """A stretch of a recording's first channel: before = signal + noise, (T,) each, at the recording's rate.

    start: where it begins, in seconds. choice: why there, for people to read; "" where it is the whole recording.
    """

    about: AudioInfo
    start: float
    choice: str
    before: Audio
    signal: Audio
    noise: Audio

    @property
    def seconds(self) -> float:
        return len(self.before) / self.about.rate


def excerpt(
    path: PathLike, model: Any, seconds: float, start: float | None = None, reduction: float | None = None
) -> Excerpt:
    """Choose an excerpt of a recording and denoise it.

    Args:
        path: a recording; memory does not grow with its length.
        model: as for `denoise`.
        seconds: how long the excerpt is to be; the whole recording where that is no longer.
        start: where it is to begin, in seconds; None for where the signal that the model finds has the most energy,
            within the first hour.
        reduction: as for `denoise`.

    Raises UserError as `audio.files.read` and `denoise` do, and where `start` is not in the recording.
    """
    about = info(path)
    choice = ""
    if start is not None:
        if not 0 <= start < about.seconds:
            raise UserError(f"{path}: lasts {about.seconds:.1f} s and has no {start:g} s; choose another --start")
        choice = "chosen by hand"
    elif about.seconds > seconds:
        start = _loudest(path, about, model, seconds)
        within = "" if about.seconds <= SEARCHED else f" of its first {SEARCHED / 60:.0f} min"
        choice = f"where the signal is loudest{within}"
    first = round((start or 0.0) * about.rate)
    length = min(max(1, round(seconds * about.rate)), about.frames - first)
    begin = _begin(first, about.rate, model)
    samples, _ = read(path, first - begin + length + _margin(about.rate, model), begin)
    signal = denoise(samples[:, 0], about.rate, model, "signal", reduction)
    own = slice(first - begin, first - begin + length)
    before, signal = samples[own, 0], signal[own]
    return Excerpt(about, first / about.rate, choice, before, signal, before - signal)


def _begin(first: int, rate: int, model: Any) -> int:
    """The sample from which to denoise: where the model's pools lie as in the whole recording, for they decide too."""
    pool = rate * model.spectrogram.hop * chunking(model)[0]
    step = pool // math.gcd(pool, model.spectrogram.rate)  # samples of the file that are whole pools
    earliest = max(0, first - _margin(rate, model))
    begin = earliest // step * step
    return begin if first - begin <= _FAR * rate else earliest


def _margin(rate: int, model: Any) -> int:
    """Samples of the file around an excerpt that may change it."""
    spectrogram, reach = model.spectrogram, max(3 * (model.taps + model.pool), sum(chunking(model)))
    return math.ceil(rate * max(_AROUND, (reach * spectrogram.hop + spectrogram.n_fft) / spectrogram.rate))


def _loudest(path: PathLike, about: AudioInfo, model: Any, seconds: float) -> float:
    """The whole second at which the stretch with the most energy of signal begins."""
    energies, rest, left = [], np.zeros(0, np.float32), round(SEARCHED * about.rate)
    first_channel = (block[:, :1] for block in blocks(path))
    for block in denoise_blocks(first_channel, about.rate, 1, model, "signal"):
        rest = np.concatenate([rest, block[:left, 0]])
        left -= len(block)
        whole = len(rest) - len(rest) % about.rate
        energies += [float(e) for e in np.square(rest[:whole], dtype=np.float64).reshape(-1, about.rate).sum(axis=1)]
        rest = rest[whole:]
        if left <= 0:
            break
    sums = np.concatenate([[0.0], np.cumsum(energies)])
    length = min(max(1, round(seconds)), len(energies))
    return float(np.argmax(sums[length:] - sums[: len(sums) - length]))
