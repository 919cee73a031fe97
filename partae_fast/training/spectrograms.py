"""The spectrograms that models with weak labels are trained on: their definition, level and noise-only frames."""

import hashlib
import logging
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import labels as labelling
from ..audio import files
from ..audio.files import PathLike
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..masking.rules import quantile_of_power
from .cache import Cache
from .distributed import current
from .material import Material, Source, check_apart, check_channels, labelled, samples_of
from .stored import excerpt, parts

logger = logging.getLogger("partae_fast")

LONGEST = 1 << 18  # frames of either kind in an excerpt, which bounds memory
_LEAST_POOLS = 8  # pool windows in the shortest crop that is trained on
# A recording whose largest magnitude in the band is below this share of its samples' RMS has only rounding there.
# White noise of that RMS has magnitudes about sqrt(n_fft / 2) times it; float32 rounds at 6e-8.
_NOTHING = 1e-6
_EDGE_FRAMES = 16
_MISMATCH = 6.0  # dB that recordings of noise may differ from the noise in the others, by a rough estimate
_COMPARED = 1 << 16  # frames that are compared for it
_AUDIBLE = 1e-6  # of the loudest bin: a quieter one is rounding, or beyond what a recording holds


@dataclass(frozen=True)
class UsualSpectrogram:
    """A system's usual spectrogram, where neither the caller nor the labels nor the recordings say otherwise; in Hz."""

    rate: int
    n_fft: int
    hop: int
    low: float
    high: float


@dataclass(frozen=True)
class AskedSpectrogram:
    """What a caller sets of the spectrogram; None leaves it to labels, system and recordings."""

    low: float | None = None
    high: float | None = None
    rate: int | None = None
    n_fft: int | None = None
    hop: int | None = None
    bins: int | None = None


@dataclass(frozen=True)
class Spectrograms:
    """Magnitudes at one level, (frames, bins) for each recording.

    signal: what may have signal. noise: what is noise-only. With a cache they are on disk, each a
    `partae_fast.training.stored.Stored`.
    """

    spectrogram: Spectrogram
    signal: list[NDArray[np.float32]]
    noise: list[NDArray[np.float32]]

    def excerpt(self, seed: int, frames: int) -> "Spectrograms":
        """What of them fits into memory: all that is there already, else random stretches of `frames` or more."""
        signal, noise = (excerpt(part, LONGEST, frames, seed) for part in (self.signal, self.noise))
        return Spectrograms(self.spectrogram, signal, noise)

    def sha256(self) -> str:
        """A digest of the magnitudes' values."""
        digest = hashlib.sha256()
        for magnitudes in (*self.signal, *self.noise):
            digest.update(str(magnitudes.shape).encode())
            digest.update(np.ascontiguousarray(magnitudes).data)
        return digest.hexdigest()

    def crop_frames(self, frames: int, pool: int) -> int:
        """The frames of a crop: `frames`, or fewer where the longest recording of either kind has fewer.

        Raises UserError where a crop would have fewer than 8 pool windows.
        """
        longest = {"what may have signal": max(map(len, self.signal)), "what is noise-only": max(map(len, self.noise))}
        kind, available = min(longest.items(), key=lambda item: item[1])
        if available >= frames:
            return frames
        shrunk, least = available - available % pool, _LEAST_POOLS * pool
        rate = self.spectrogram.frame_rate
        if shrunk < least:
            raise UserError(
                f"{kind} lasts {available / rate:.2f} s at most ({available} frames) and training needs "
                f"{least / rate:.2f} s ({least} frames, {_LEAST_POOLS} pools); give longer recordings"
            )
        logger.warning(
            "%s lasts %d frames at most: crops have %d frames instead of %d", kind, available, shrunk, frames
        )
        return shrunk


def prepare(
    material: Material,
    usual: UsualSpectrogram,
    asked: AskedSpectrogram,
    level: float,
    match_noise: bool = False,
    cache: PathLike | None = None,
    progress: bool | None = None,
) -> Spectrograms:
    """Compute the spectrograms of a material's noisy recordings and noise, and keep them as its `spectrograms`.

    Args:
        material: recordings, and noise or labels or both.
        usual, asked: what decides the spectrogram; what is asked for comes first.
        level: root mean square of the magnitudes that may have signal; the spectrogram's gain brings them there.
        match_noise: whether recordings of noise far from the level of the noise in the others are brought to it.
        cache, progress: as for `TrainingOptions`.

    Raises UserError for whatever is wrong with recordings, labels or settings.
    """
    if not 0 < level < math.inf:
        raise UserError(f"level is {level}; it must be a number above 0")
    signal_sources = material.sources("recordings")
    if not (material.noise or material.labels):
        raise UserError("what is noise is not known: give recordings of noise alone, or labels for the recordings")
    noise_sources = material.sources("noise") if material.noise else []
    signal_sources = labelled(signal_sources, material.labels, material.label_rules)
    check_apart(signal_sources, noise_sources)
    every = [*signal_sources, *noise_sources]
    spectrogram = spectrogram_for(every, usual, asked)
    kept = None if cache is None else _filled(Cache(cache, spectrogram), every, progress)
    signal, noise_only, noise_recordings = _features(spectrogram, signal_sources, noise_sources, kept)
    if match_noise and noise_recordings:
        _match(signal, noise_recordings, spectrogram)
    noise_only += noise_recordings
    material.spectrograms = Spectrograms(_level(level, spectrogram, signal, noise_only), signal, noise_only)
    return material.spectrograms


def spectrogram_for(sources: list[Source], usual: UsualSpectrogram, asked: AskedSpectrogram) -> Spectrogram:
    """The spectrogram that is asked for, completed from labels, the usual one and the recordings."""
    own = min(source.rate for source in sources)
    low, high = _band(usual, sources, asked, own)
    rate = _rate(usual, high, own) if asked.rate is None else asked.rate
    octaves = round(math.log2(max(rate, 1) / usual.rate))
    overlap = usual.n_fft // usual.hop
    n_fft = asked.n_fft
    if n_fft is None:
        n_fft = max(2, round(usual.n_fft * 2.0**octaves)) if asked.hop is None else asked.hop * overlap
    spectrogram = Spectrogram(
        rate=rate,
        n_fft=n_fft,
        hop=n_fft // overlap if asked.hop is None else asked.hop,
        low=low,
        high=None if asked.high is None and asked.bins else high,  # pyright: ignore[reportArgumentType]
        bins=asked.bins,  # pyright: ignore[reportArgumentType]
    )
    logger.info(
        "spectrogram: %g to %g Hz, %d bins, rate %d Hz, n_fft %d, hop %d",
        spectrogram.low,
        spectrogram.high,
        spectrogram.bins,
        spectrogram.rate,
        spectrogram.n_fft,
        spectrogram.hop,
    )
    if spectrogram.high > own / 2:
        logger.warning("the band ends at %g Hz, and a recording at %d Hz ends at %g", spectrogram.high, own, own / 2)
    return spectrogram


def _band(usual: UsualSpectrogram, sources: list[Source], asked: AskedSpectrogram, own: int) -> tuple[float, float]:
    """The band in Hz: as asked for, else of the labels, else the usual one; cut where the recordings end.

    Where bins are asked for and not the upper end, that is an estimate, for the choice of the rate.
    """
    labelled = labelling.band([event for source in sources for event in source.signal_events()])
    default = labelled or (usual.low, usual.high)
    low = default[0] if asked.low is None else asked.low
    if asked.high is not None:
        return low, asked.high
    if asked.bins is not None:
        return low, low + asked.bins * usual.rate / usual.n_fft
    limit = min(own, asked.rate or own) / 2
    if default[1] > limit:
        logger.warning("the band would end at %g Hz and is cut at half the rate, %g Hz", default[1], limit)
    return low, min(default[1], limit)


def _rate(usual: UsualSpectrogram, high: float, own: int) -> int:
    """The usual rate, doubled until `high` fits below half of it, no higher than the recordings' own."""
    rate = usual.rate
    while high > rate / 2 and rate < own:
        rate = min(2 * rate, own)
    return rate


def _features(
    spectrogram: Spectrogram, signal_sources: list[Source], noise_sources: list[Source], cache: Cache | None
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Magnitudes (frames, bins) of all that may have signal, of what labels leave as noise, and of recordings of it."""
    signal, noise, given = [], [], []
    for source in signal_sources:
        for magnitudes, seconds, channel in _magnitudes(spectrogram, source, cache):
            if source.events is None:
                signal.append(magnitudes)
                continue
            timeline = labelling.Timeline.from_events(source.events, seconds, source.rules, source.name, channel)
            for frames, kind in ((timeline.noise_frames, noise), (timeline.signal_frames, signal)):
                its = frames(len(magnitudes), spectrogram)
                kind += [magnitudes[its]] if its.any() else []
    for source in noise_sources:
        given += [magnitudes for magnitudes, *_ in _magnitudes(spectrogram, source, cache)]
    if not (noise or given):
        raise UserError(
            "the labels leave no stretch that is noise-only; give noise, labels with gaps between events, or a shorter "
            "guard"
        )
    if not signal:
        raise UserError(
            "the labels say that all is noise-only or unknown, so there is no signal to learn; add recordings with some"
        )
    return signal, noise, given


def _match(signal: list[NDArray[np.float32]], noise: list[NDArray[np.float32]], spectrogram: Spectrogram) -> None:
    """Bring recordings of noise to the level of the noise in the others, where they are far from it.

    Compared are the medians over time of each bin, and of the bins' ratios the lower quartile, for songs raise the
    others. In real noise, cut in time, this was 1 dB too low to 2 dB too high, and farther only where the noise itself
    had changed.
    """
    theirs, its = (quantile_of_power(recordings, 0.5, _COMPARED) for recordings in (signal, noise))
    ratios, heard = theirs / np.maximum(its, np.finfo(np.float32).tiny), its > _AUDIBLE * its.max()
    mismatch = 10 * math.log10(max(float(np.quantile(ratios[heard], 0.25)), 1e-12)) if heard.any() else 0.0
    if abs(mismatch) <= _MISMATCH:
        return
    logger.warning(
        "recordings of noise are about %.0f dB %s than the noise in the others: brought to their level",
        abs(mismatch),
        "quieter" if mismatch > 0 else "louder",
    )
    for magnitudes in noise:
        magnitudes *= np.float32(10 ** (mismatch / 20))


def _filled(cache: Cache, sources: list[Source], progress: bool | None) -> Cache:
    """The cache with the spectrograms of all sources that are files; each rank makes its share of them."""
    ranks = current()
    recordings = [source.audio for source in sources if not isinstance(source.audio, tuple)]
    cache.fill(recordings[ranks.rank :: ranks.count], progress=progress if ranks.leads else False)
    ranks.gather(None)
    return cache


def _magnitudes(
    spectrogram: Spectrogram, source: Source, cache: Cache | None
) -> list[tuple[NDArray[np.float32], float, int]]:
    """Magnitudes (frames, bins) of each channel that is not silent, the length in seconds, the channel from 1.

    Those of a file are in the cache, where there is one.
    """
    if cache is not None and not isinstance(source.audio, tuple):
        return _cached(cache, spectrogram, source)
    its = samples_of(source, spectrogram.rate)
    numbered = zip(its.channels, its.numbers, strict=True)
    found = [(spectrogram.magnitude(channel), its.seconds, number) for channel, number in numbered]
    loudest = max(_interior_level(magnitudes) for magnitudes, *_ in found)
    if len(its.channels[0]):
        _check_band(source, spectrogram, loudest, its.level)
    return found


def _cached(cache: Cache, spectrogram: Spectrogram, source: Source) -> list[tuple[Any, float, int]]:
    """What `_magnitudes` gives, on disk."""
    found = cache.features(source.audio)
    if not found.channels:
        files.require_sound(np.zeros(1), source.name)
    check_channels(source, len(found.channels), found.count)
    _check_band(source, spectrogram, found.loudest, found.level)
    return [(magnitudes, found.seconds, channel) for channel, magnitudes in found.channels]


def _check_band(source: Source, spectrogram: Spectrogram, loudest: float, level: float) -> None:
    """Refuse a recording of that level whose largest magnitude in the band is rounding."""
    if loudest <= _NOTHING * level:
        raise UserError(
            f"{source.name}: nothing sounds from {spectrogram.low:g} to {spectrogram.high:g} Hz, as in a constant; "
            "choose another band or leave it out"
        )


def _interior_level(magnitudes: NDArray[np.float32]) -> float:
    """The largest magnitude away from both ends, where any offset looks like a click."""
    edge = min(_EDGE_FRAMES, len(magnitudes) // 4)
    return float(magnitudes[edge : len(magnitudes) - edge].max(initial=0.0))


def _level(
    wanted: float, spectrogram: Spectrogram, signal: list[NDArray[np.float32]], noise: list[NDArray[np.float32]]
) -> Spectrogram:
    """The spectrogram with the gain that brings the signal's RMS magnitude to `wanted`; scales the magnitudes too."""
    # Not a BLAS product: its sum may depend on the number of threads, and with it every bit of training.
    square = sum(float(np.einsum("th,th->", m, m, dtype=np.float64)) for recording in signal for m in parts(recording))
    level = math.sqrt(square / sum(m.size for m in signal))
    if not level > 0:
        raise UserError(f"nothing sounds from {spectrogram.low:g} to {spectrogram.high:g} Hz; choose another band")
    gain = wanted / level
    for magnitudes in (*signal, *noise):
        magnitudes *= np.float32(gain)
    return replace(spectrogram, gain=gain)
