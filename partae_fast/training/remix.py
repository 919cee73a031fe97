"""The later stages of preset `field`: denoising autoencoders learn from remixes of what the model before took apart.

A partitioned autoencoder tells signal from noise by weak labels alone, but what it masks is rough. Its estimates of the
signal are therefore mixed anew with noise, of recordings of noise alone and of what it took away, at other times and
levels; a plain denoising autoencoder that learns to undo this knows a target for every item. Estimates that are wrong
in one place only do not repeat, and so are not learned. What that one passes is remixed once more, for a third. After
RemixIT (Tzinis et al. 2022), on magnitudes; a third round was worse (bench/results/quality/field.md).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..denoising.mask import Mask
from ..sampling import CropSampler
from .presets import PRESETS

Magnitudes = NDArray[np.float32]

# A teacher's gain. Background latents take some of the signal too, and so count no louder than noise ever was.
PARTITIONED = Mask(background=4.0, noise=1.0, gate=2.0, smoothing=3)
DENOISING = Mask(**PRESETS["field"].mask)
# Weights of noise and gate where there is little noise-only audio: between two models, and in the end.
MILD, MILD_END = (0.1, 1.0), (0.25, 1.25)
FEW, MANY = 650, 1500  # frames of it: up to the first a mask is mild, from the second on it is not
LOUDEST = 0.999  # the quantile of noise-only power, over frames, that stands for this
HIGH, ITS_SHARE = 0.98, 0.28  # this much of this quantile of noise-only power is taken for the level of noise
PREVAILING = 2.5  # and no more than so many times the median power of what may have signal
STEADY = 2.75  # the same quantile over the median, in noise as steady as white noise
BYPASS = 5.0  # in such noise what is this much above its level is signal; else this times the fourth power of the ratio
SILENCE = 1e-8  # of the power of the loudest frame: a quieter one is digital silence
GAIN_DB = 3.0  # noise is remixed at up to this much above or below its own level
ENOUGH = 1 << 15  # frames of remixes: short recordings are remixed several times
MOST = 1 << 18  # frames of signal, and of noise, that are remixed, which bounds memory; more are left out
_STRETCH = 256  # frames that are looked at in one place of a long recording
_CHUNK = 4096  # frames that the model sees at a time


def remixes(
    model: Any,
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
        signal, noise: recordings (T, bins) of what may have signal and of what is noise-only, at the model's level.
        frames, batch, noise_only, seed: the sampler's.
        round: 1 for the first that learns from another; each has remixes of its own.
    """
    rng = np.random.default_rng([seed, 0xE5, round])
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
    typical, loudest = typical_power(noise, signal), np.sqrt(quantile_of_power(noise, LOUDEST, ENOUGH))
    mask = with_bypass(PARTITIONED if (model.foreground == 0).any() else cautious(DENOISING, noise), noise)
    for x in signal:
        parts = _separated(model, x)
        yield mask.gain(parts[0], np.minimum(parts[1], loudest), x, typical)


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
    heard = PREVAILING * quantile_of_power(signal, 0.5, ENOUGH)
    return np.minimum(ITS_SHARE * quantile_of_power(noise, HIGH, ENOUGH), heard).astype(np.float32)


def with_bypass(mask: Mask, noise: Sequence[Magnitudes]) -> Mask:
    """The mask with a bypass that noise of this kind does not take: the less steady it is, the higher.

    In steady noise what is a few times louder than its level is signal, even where a model has not learned it. Unsteady
    noise is as loud at times, and there the model alone decides.
    """
    high, median = (quantile_of_power(noise, share, ENOUGH) for share in (HIGH, 0.5))
    unsteady = float(np.median(high / np.maximum(median, np.finfo(np.float32).tiny))) / STEADY
    return replace(mask, bypass=BYPASS * min(max(unsteady, 1.0), 1e3) ** 4)


def quantile_of_power(recordings: Sequence[Magnitudes], share: float, frames: int) -> Magnitudes:
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
