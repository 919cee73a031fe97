"""Choose an excerpt of a recording and denoise it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..audio.files import AudioInfo, PathLike, blocks, info, read
from ..denoising.denoise import chunking, denoise, denoise_blocks
from ..errors import UserError
from ..models.protocol import Model

SEARCHED = 3600.0  # seconds of a long recording that are searched for the loudest signal
_MARGIN = 1.0  # least seconds on either side that are denoised too, to avoid edge effects
_MAX_LEAD = 60.0  # most seconds before the excerpt that are denoised too

Audio = NDArray[np.float32]


@dataclass(frozen=True)
class Excerpt:
    """An excerpt of a recording's first channel: `before` = `signal` + `noise`, (T,) each, at the recording's rate.

    `start` is in seconds. `choice` says, for readers of the page, how the start was chosen; it is empty for a whole
    recording.
    """

    header: AudioInfo
    start: float
    choice: str
    before: Audio
    signal: Audio
    noise: Audio

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.before) / self.header.rate


def denoised_excerpt(
    path: PathLike, model: Model, seconds: float, start: float | None = None, reduction: float | None = None
) -> Excerpt:
    """Return a denoised excerpt of a recording, with bounded memory.

    Args:
        path: a recording.
        model: see `denoise`.
        seconds: duration of the excerpt; a shorter recording is used completely.
        start: start of the excerpt in seconds; None for the loudest signal within the first hour.
        reduction: see `denoise`.

    Raises the errors of `audio.files.read` and `denoise`, and UserError if `start` is outside the recording.
    """
    header = info(path)
    choice = ""
    if start is not None:
        if not 0 <= start < header.seconds:
            raise UserError(
                f"{path}: start is {start:g} s, but the recording lasts {header.seconds:.1f} s; choose another --start"
            )
        choice = "chosen by the author"
    elif header.seconds > seconds:
        start = _loudest_start(path, header, model, seconds)
        searched = "" if header.seconds <= SEARCHED else f" in its first {SEARCHED / 60:.0f} min"
        choice = f"where the signal is loudest{searched}"
    first = round((start or 0.0) * header.rate)
    length = min(max(1, round(seconds * header.rate)), header.frames - first)
    read_from = _aligned_start(first, header.rate, model)
    samples, _ = read(path, first - read_from + length + _margin_samples(header.rate, model), read_from)
    signal = denoise(samples[:, 0], header.rate, model, "signal", reduction)
    excerpt = slice(first - read_from, first - read_from + length)
    before, signal = samples[excerpt, 0], signal[excerpt]
    return Excerpt(header, first / header.rate, choice, before, signal, before - signal)


def _aligned_start(first: int, rate: int, model: Model) -> int:
    """Return the sample to denoise from, at a pool boundary of the whole recording if one is near enough.

    The result of the excerpt then equals that of the whole recording, because it depends on the pools.
    """
    pool = rate * model.spectrogram.hop * chunking(model)[0]
    step = pool // math.gcd(pool, model.spectrogram.rate)  # samples between common boundaries of samples and pools
    latest = max(0, first - _margin_samples(rate, model))
    aligned = latest // step * step
    return aligned if first - aligned <= _MAX_LEAD * rate else latest


def _margin_samples(rate: int, model: Model) -> int:
    """Return the number of samples on either side that may affect an excerpt."""
    spectrogram, reach = model.spectrogram, max(3 * (model.taps + model.pool), sum(chunking(model)))
    return math.ceil(rate * max(_MARGIN, (reach * spectrogram.hop + spectrogram.n_fft) / spectrogram.rate))


def _loudest_start(path: PathLike, header: AudioInfo, model: Model, seconds: float) -> float:
    """Return the start, in whole seconds, of the stretch whose signal has the most energy."""
    energies, remainder, remaining = [], np.zeros(0, np.float32), round(SEARCHED * header.rate)
    first_channel = (block[:, :1] for block in blocks(path))
    for block in denoise_blocks(first_channel, header.rate, 1, model, "signal"):
        remainder = np.concatenate([remainder, block[:remaining, 0]])
        remaining -= len(block)
        length = len(remainder) - len(remainder) % header.rate
        whole_seconds = np.square(remainder[:length], dtype=np.float64).reshape(-1, header.rate)
        energies += [float(energy) for energy in whole_seconds.sum(axis=1)]
        remainder = remainder[length:]
        if remaining <= 0:
            break
    sums = np.concatenate([[0.0], np.cumsum(energies)])
    length = min(max(1, round(seconds)), len(energies))
    return float(np.argmax(sums[length:] - sums[: len(sums) - length]))
