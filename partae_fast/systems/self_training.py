"""The later stages of preset `field`: denoising autoencoders learn from remixes of what the model before took apart.

A partitioned autoencoder tells signal from noise by weak labels alone, but what it masks is rough. Its estimates of the
signal are therefore mixed anew with noise, of recordings of noise alone and of what it took away, at other times and
levels; a plain denoising autoencoder that learns to undo this knows a target for every item. Estimates that are wrong
in one place only do not repeat, and so are not learned. What that one passes is remixed once more, for a third. After
RemixIT (Tzinis et al. 2022), on magnitudes; a third round was worse (bench/results/quality/field.md).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..masking.mask import Mask
from ..masking.rules import cautious, quantile_of_power, typical_power, with_bypass
from ..sampling.crops import CropSampler
from ..training.spectrograms import LONGEST

Magnitudes = NDArray[np.float32]

# The teacher's mask weights the background estimate by 4, limited to the loudest noise: background latents take some of
# the signal too.
PARTITIONED = Mask(background=4.0, noise=1.0, gate=2.0, smoothing=3)
LOUDEST = 0.999  # the quantile over frames of the noise-only power that is the loudest noise
GAIN_DB = 3.0  # noise is mixed in at up to this much above or below its own level
ENOUGH = 1 << 15  # frames of mixtures: short recordings are mixed several times
_CHUNK = 4096  # frames that the model is given at a time


def remixes(
    model: Any,
    mask: Mask,
    signal: Sequence[Magnitudes],
    noise: Sequence[Magnitudes],
    frames: int,
    batch: int,
    noise_only: float,
    seed: int,
    round: int = 1,
) -> CropSampler:
    """What the next model learns from: items (mixture, signal) and (noise, silence).

    Arguments:
        model: the teacher: the trained partitioned autoencoder, or the denoising one that learned from it.
        mask: a denoising teacher's; `PARTITIONED` is a partitioned one's.
        signal, noise: recordings (T, bins) of what may have signal and of what is noise-only, at the model's level.
        frames, batch, noise_only, seed: the sampler's.
        round: 1 for the first that learns from another; each has remixes of its own.
    """
    rng = np.random.default_rng([seed, 0xE5, round])
    signal = list(_shortened(signal, frames, rng))
    gains = list(_gains(model, mask, signal, noise))
    wanted = [gain * x for gain, x in zip(gains, signal, strict=True)]
    rest = [x - part for part, x in zip(wanted, signal, strict=True)]
    sources = [list(_shortened(noise, frames, rng)), rest]
    times = min(16, math.ceil(ENOUGH / sum(map(len, wanted))))
    mixed = [(_mixed(part, sources, frames, rng), part) for part in wanted for _ in range(times)]
    silence = [(n, np.zeros_like(n)) for recordings in sources for n in recordings]
    return CropSampler([mixed], [silence], frames, batch, noise_only, seed)


def _shortened(signal: Sequence[Magnitudes], frames: int, rng: np.random.Generator) -> Iterator[Magnitudes]:
    """The recordings that are long enough for a crop, in any order; no more than LONGEST frames in all."""
    left = LONGEST
    for i in rng.permutation(len(signal)):
        x = signal[i][: max(left, frames)]
        if len(x) >= frames and left > 0:
            left -= len(x)
            yield x


def _gains(model: Any, mask: Mask, signal: Sequence[Magnitudes], noise: Sequence[Magnitudes]) -> Iterator[Magnitudes]:
    """The teacher's gain for every frame and bin of the recordings."""
    typical, loudest = typical_power(noise, signal), np.sqrt(quantile_of_power(noise, LOUDEST))
    mask = with_bypass(PARTITIONED if (model.foreground == 0).any() else cautious(mask, noise), noise)
    for x in signal:
        parts = _separated(model, x)
        yield mask.gain(parts[0], np.minimum(parts[1], loudest), x, typical)


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
