"""The second stage of preset `field`: a denoising autoencoder learns from remixes of what a partitioned one took apart.

A partitioned autoencoder tells signal from noise by weak labels alone, but what it masks is rough. Its estimates of the
signal are therefore mixed anew with noise, of recordings of noise alone and of what it took away, at other times and
levels; a plain denoising autoencoder that learns to undo this knows a target for every item. Estimates that are wrong
in one place only do not repeat, and so are not learned. After RemixIT (Tzinis et al. 2022), on magnitudes, where one
round gave most of the gain.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..denoising.mask import Mask
from ..sampling import CropSampler

Magnitudes = NDArray[np.float32]

# The teacher's gain: background latents take some of the signal too, and so count no louder than noise ever was.
TEACHER = Mask(background=2.0, noise=1.0, gate=2.0, smoothing=3)
LOUDEST = 0.999  # the quantile of noise-only power, over frames, that stands for this
GAIN_DB = 3.0  # noise is remixed at up to this much above or below its own level
ENOUGH = 1 << 15  # frames of remixes: short recordings are remixed several times
MOST = 1 << 18  # frames of signal, and of noise, that are remixed, which bounds memory; more are left out
_CHUNK = 4096  # frames that the model sees at a time


def remixes(
    model: Any,
    signal: Sequence[Magnitudes],
    noise: Sequence[Magnitudes],
    frames: int,
    batch: int,
    noise_only: float,
    seed: int,
) -> CropSampler:
    """The sampler of the second stage, its items (mixture, signal) and (noise, silence).

    Arguments:
        model: the trained partitioned autoencoder.
        signal, noise: recordings (T, bins) of what may have signal and of what is noise-only, at the model's level.
        frames, batch, noise_only, seed: the sampler's.
    """
    rng = np.random.default_rng([seed, 0xE5])
    signal = list(_shortened(signal, frames, rng))
    gains = list(_gains(model, signal, noise))
    wanted = [gain * x for gain, x in zip(gains, signal, strict=True)]
    rest = [x - part for part, x in zip(wanted, signal, strict=True)]
    sources = [list(_shortened(noise, frames, rng)), rest]
    times = min(16, math.ceil(ENOUGH / sum(map(len, wanted))))
    mixed = [(_mixed(part, sources, frames, rng), part) for part in wanted for _ in range(times)]
    silence = [(n, np.zeros_like(n)) for recordings in sources for n in recordings]
    return CropSampler([mixed], [silence], frames, batch, noise_only, seed)


def _shortened(signal: Sequence[Magnitudes], frames: int, rng: np.random.Generator) -> Iterator[Magnitudes]:
    """The recordings that are long enough for a crop, in any order; no more than MOST frames in all."""
    left = MOST
    for i in rng.permutation(len(signal)):
        x = signal[i][: max(left, frames)]
        if len(x) >= frames and left > 0:
            left -= len(x)
            yield x


def _gains(model: Any, signal: Sequence[Magnitudes], noise: Sequence[Magnitudes]) -> Iterator[Magnitudes]:
    """The teacher's gain for every frame and bin of the recordings."""
    mean_square = mean_square_of(noise)
    each = max(1, ENOUGH // len(noise))
    loudest = np.sqrt(np.quantile(np.concatenate([smoothed_power(n[:each]) for n in noise]), LOUDEST, axis=0))
    for x in signal:
        parts = _separated(model, x)
        yield TEACHER.gain(parts[0], np.minimum(parts[1], loudest), x, mean_square)


def mean_square_of(noise: Sequence[Magnitudes]) -> Magnitudes:
    """The mean square of each bin, (bins,), over all frames."""
    squares = [np.einsum("th,th->h", n, n, dtype=np.float64) for n in noise]
    return (np.sum(squares, axis=0) / sum(map(len, noise))).astype(np.float32)


def smoothed_power(magnitudes: Magnitudes) -> Magnitudes:
    """Power in means over 3 frames and 3 bins."""
    from scipy.ndimage import uniform_filter

    return np.asarray(uniform_filter(np.square(magnitudes), 3, mode="nearest"), np.float32)


def _separated(model: Any, x: Magnitudes) -> tuple[Magnitudes, Magnitudes]:
    """What both parts reconstruct of a recording, chunk by chunk, each with neighbours on both sides."""
    halo = model.pool * math.ceil(2 * model.taps / model.pool)
    chunk = _CHUNK - _CHUNK % model.pool
    found: tuple[list[Magnitudes], list[Magnitudes]] = ([], [])
    for start in range(0, len(x), chunk):
        before = min(start, halo)
        seen = torch.from_numpy(x[None, start - before : start + chunk + halo]).to(model.w_enc.device)
        with torch.no_grad():
            for parts, part in zip(found, model.separate(seen), strict=True):
                parts.append(part[0, before : before + chunk].cpu().numpy())
    return np.concatenate(found[0]), np.concatenate(found[1])


def _mixed(
    wanted: Magnitudes, sources: Sequence[Sequence[Magnitudes]], frames: int, rng: np.random.Generator
) -> Magnitudes:
    """|S + N| for magnitudes S: N are crops of the sources, each as likely as any, end to end, of any phase to S."""
    out = np.empty_like(wanted)
    for start in range(0, len(wanted), frames):
        s = wanted[start : start + frames]
        recordings = sources[int(rng.integers(len(sources)))]
        starts = np.array([len(n) - len(s) + 1 for n in recordings])
        n = recordings[int(rng.choice(len(recordings), p=starts / starts.sum()))]
        first = int(rng.integers(len(n) - len(s) + 1))
        n = n[first : first + len(s)] * np.float32(10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20))
        angle = rng.random(s.shape, np.float32) * np.float32(2 * np.pi)
        out[start : start + frames] = np.sqrt(np.maximum(s * s + n * n + 2 * s * n * np.cos(angle), 0))
    return out
