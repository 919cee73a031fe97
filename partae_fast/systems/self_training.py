"""Self-training: a new model learns from estimates of the model before it.

The teacher's signal estimates are mixed with noise-only recordings and with its noise estimates, at random times and
levels. The method is RemixIT (Tzinis et al. 2022) on magnitudes; bench/results/quality/field.md has the evidence.
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

# The mask of a partitioned teacher weights the background estimate by 4. The estimate is limited to the loudest noise,
# because background latents also take some of the signal.
PARTITIONED = Mask(background=4.0, noise=1.0, gate=2.0, smoothing=3)
LOUDEST = 0.999  # the loudest noise is this quantile over frames of the noise-only power
GAIN_DB = 3.0  # noise is mixed at a random gain of up to this much in either direction
LEAST_FRAMES = 1 << 15  # of mixtures; short recordings are mixed several times to reach it
_CHUNK = 4096  # frames per call of the model


def self_training_sampler(
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
    """Return a sampler of pairs (mixture, signal) and (noise, silence).

    Args:
        model: the teacher: the trained partitioned autoencoder, or a denoising autoencoder of an earlier round.
        mask: the mask of a denoising teacher; a partitioned teacher has the mask `PARTITIONED`.
        signal: recordings (T, bins) that may have signal, at the level of the model.
        noise: noise-only recordings (T, bins), at the level of the model.
        frames, batch, noise_only, seed: as for `CropSampler`.
        round: number of the round, from 1; each round has different mixtures.
    """
    rng = np.random.default_rng([seed, 0xE5, round])
    signal = list(_limit_length(signal, frames, rng))
    gains = list(_gains(model, mask, signal, noise))
    targets = [gain * x for gain, x in zip(gains, signal, strict=True)]
    residuals = [x - target for target, x in zip(targets, signal, strict=True)]
    sources = [list(_limit_length(noise, frames, rng)), residuals]
    repeats = min(16, math.ceil(LEAST_FRAMES / sum(map(len, targets))))
    mixtures = [(_mix(target, sources, frames, rng), target) for target in targets for _ in range(repeats)]
    silence = [(n, np.zeros_like(n)) for recordings in sources for n in recordings]
    return CropSampler([mixtures], [silence], frames, batch, noise_only, seed)


def _limit_length(recordings: Sequence[Magnitudes], frames: int, rng: np.random.Generator) -> Iterator[Magnitudes]:
    """Yield the recordings with at least `frames` frames, in random order.

    The total length is at most LONGEST frames.
    """
    left = LONGEST
    for i in rng.permutation(len(recordings)):
        x = recordings[i][: max(left, frames)]
        if len(x) >= frames and left > 0:
            left -= len(x)
            yield x


def _gains(model: Any, mask: Mask, signal: Sequence[Magnitudes], noise: Sequence[Magnitudes]) -> Iterator[Magnitudes]:
    """Yield the teacher's gain for every frame and bin of each recording."""
    typical, loudest = typical_power(noise, signal), np.sqrt(quantile_of_power(noise, LOUDEST))
    mask = with_bypass(PARTITIONED if (model.foreground == 0).any() else cautious(mask, noise), noise)
    for x in signal:
        foreground, background = _separate(model, x)
        yield mask.gain(foreground, np.minimum(background, loudest), x, typical)


def _separate(model: Any, x: Magnitudes) -> tuple[Magnitudes, Magnitudes]:
    """Return the foreground and background reconstructions of a recording.

    They are computed in chunks with a halo.
    """
    halo = model.pool * math.ceil(2 * model.taps / model.pool)
    chunk = _CHUNK - _CHUNK % model.pool
    chunks: tuple[list[Magnitudes], list[Magnitudes]] = ([], [])
    for start in range(0, len(x), chunk):
        before = min(start, halo)
        block = torch.from_numpy(x[None, start - before : start + chunk + halo]).to(model.w_enc.device)
        with torch.no_grad():
            for part_chunks, part in zip(chunks, model.separate(block), strict=True):
                part_chunks.append(part[0, before : before + chunk].cpu().numpy())
    return np.concatenate(chunks[0]), np.concatenate(chunks[1])


def _mix(
    signal: Magnitudes, sources: Sequence[Sequence[Magnitudes]], frames: int, rng: np.random.Generator
) -> Magnitudes:
    """Return the magnitudes of signal plus noise with random phase differences.

    The noise is a sequence of crops of `frames` frames. Each is drawn from a random source, uniformly over all crops of
    the source, at a random gain.
    """
    mixture = np.empty_like(signal)
    for start in range(0, len(signal), frames):
        s = signal[start : start + frames]
        recordings = sources[int(rng.integers(len(sources)))]
        starts = np.array([len(n) - len(s) + 1 for n in recordings])
        n = recordings[int(rng.choice(len(recordings), p=starts / starts.sum()))]
        first = int(rng.integers(len(n) - len(s) + 1))
        n = n[first : first + len(s)] * np.float32(10 ** (rng.uniform(-GAIN_DB, GAIN_DB) / 20))
        phase = rng.random(s.shape, np.float32) * np.float32(2 * np.pi)
        mixture[start : start + frames] = np.sqrt(np.maximum(s * s + n * n + 2 * s * n * np.cos(phase), 0))
    return mixture
