"""From recordings, and what is known of noise, to the spectrograms that models are trained on."""

import hashlib
import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import labels as labelling
from ..audio import files
from ..audio.arrays import columns_of
from ..audio.resample import resample
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from .cache import Cache
from .distributed import current
from .presets import DEFAULT, Preset, preset_named
from .remix import MOST, quantile_of_power
from .stored import excerpt, parts

logger = logging.getLogger("partae_fast")

PathLike = str | os.PathLike[str]
Audio = PathLike | tuple[ArrayLike, int]  # a file, or samples (T,) or (T, channels) and their rate in Hz

_LEAST_POOLS = 8  # pool windows in the shortest crop that is trained on
# A recording whose largest magnitude in the band is below this share of its samples' RMS has only rounding there.
# White noise of that RMS has magnitudes about sqrt(n_fft / 2) times it; float32 rounds at 6e-8.
_NOTHING = 1e-6
_EDGE_FRAMES = 16
_MISMATCH = 6.0  # dB that recordings of noise may differ from the noise in the others, by a rough estimate
_COMPARED = 1 << 16  # frames that are looked at for it
_HEARD = 1e-6  # of the loudest bin: a quieter one is rounding, or beyond what a recording holds


@dataclass(frozen=True)
class Source:
    """A recording that was given, before its samples are read."""

    name: str
    audio: Audio
    rate: int
    events: list[labelling.Event] | None = None  # None where the labels do not speak of it
    rules: labelling.Rules = field(default_factory=labelling.Rules)

    @property
    def file(self) -> PathLike:
        """What is the same of two sources of the same file, and of no other two."""
        return self.name if isinstance(self.audio, tuple) else Path(self.name).resolve()

    def recording(self) -> PathLike | labelling.Recording:
        """What the labels may be about: a file, or samples with their length."""
        if not isinstance(self.audio, tuple):
            return self.name
        return labelling.Recording(self.name, len(np.asarray(self.audio[0])) / self.rate, self.rate)

    def signal_events(self) -> list[labelling.Event]:
        return [event for event in self.events or [] if self.rules.state(event) == "signal"]


@dataclass(frozen=True)
class _Asked:
    """What the caller wants of the spectrogram; None where it is left to us."""

    low: float | None = None
    high: float | None = None
    rate: int | None = None
    n_fft: int | None = None
    hop: int | None = None
    bins: int | None = None


@dataclass(frozen=True)
class Material:
    """What models are trained on: magnitudes at the preset's level, (frames, bins) for each recording.

    With a cache they are on disk, each a `partae_fast.training.stored.Stored`.
    """

    preset: Preset
    spectrogram: Spectrogram
    signal: list[NDArray[np.float32]]  # what may have signal
    noise: list[NDArray[np.float32]]  # what is noise-only

    def excerpt(self, seed: int) -> "Material":
        """What of it fits into memory: all where it is there already, else stretches drawn at random."""
        found = {kind: excerpt(getattr(self, kind), MOST, self.preset.frames, seed) for kind in ("signal", "noise")}
        return replace(self, **found)

    def sha256(self) -> str:
        """A digest of the magnitudes' values."""
        digest = hashlib.sha256()
        for magnitudes in (*self.signal, *self.noise):
            digest.update(str(magnitudes.shape).encode())
            digest.update(np.ascontiguousarray(magnitudes).data)
        return digest.hexdigest()


def prepare(
    recordings: Sequence[Audio],
    noise: Sequence[Audio] | None = None,
    labels: PathLike | Sequence[PathLike] | None = None,
    preset: str = DEFAULT,
    low: float | None = None,
    high: float | None = None,
    rate: int | None = None,
    n_fft: int | None = None,
    hop: int | None = None,
    bins: int | None = None,
    guard: float = labelling.GUARD,
    signal_labels: Sequence[str] | None = None,
    noise_labels: Sequence[str] = (),
    min_noise: float = 0.0,
    label_format: str | None = None,
    cache: PathLike | None = None,
    progress: bool | None = None,
) -> Material:
    """Spectrograms to train on, from recordings and what is known of noise; arguments and errors as for `fit`."""
    settings = preset_named(preset)
    signal_sources = sources_of("recording", recordings)
    if noise is None and labels is None:
        raise UserError("what is noise is not known: give recordings of noise alone, or labels for the recordings")
    noise_sources = [] if noise is None else sources_of("noise recording", noise)
    rules = labelling.Rules(guard, signal_labels, noise_labels, min_noise)
    signal_sources = labelled(signal_sources, labels, rules, label_format)
    check_apart(signal_sources, noise_sources)
    asked = _Asked(low, high, rate, n_fft, hop, bins)
    spectrogram = _spectrogram(settings, [*signal_sources, *noise_sources], asked)
    kept = None if cache is None else _filled(Cache(cache, spectrogram), [*signal_sources, *noise_sources], progress)
    signal, noise_only, given = _features(spectrogram, signal_sources, noise_sources, kept)
    if settings.match_noise and given:
        _match(signal, given, spectrogram)
    noise_only += given
    return Material(settings, _level(settings.level, spectrogram, signal, noise_only), signal, noise_only)


def sources_of(kind: str, given: Sequence[Audio]) -> list[Source]:
    """Name and rate of each recording, its header read or its samples checked and brought to (T, channels)."""
    if isinstance(given, str | os.PathLike):
        raise UserError(f"{given}: one {kind} was given where a list is wanted; put it in a list")
    sources = []
    for index, audio in enumerate(given):
        if isinstance(audio, tuple):
            name = f"{kind} {index}"
            sources.append(Source(name, (columns_of(audio[0], name), audio[1]), int(audio[1])))
        else:
            sources.append(Source(str(audio), audio, files.info(audio).rate))
    if not sources:
        raise UserError(f"no {kind} was given; give at least one")
    return _once(sources)


def _once(sources: list[Source]) -> list[Source]:
    """The sources without the files that are given a second time, by whatever name."""
    kept = {}
    for source in sources:
        if source.file in kept:
            logger.warning("%s: given twice, as %s too: it is used once", source.name, kept[source.file].name)
        kept.setdefault(source.file, source)
    return list(kept.values())


def check_apart(recordings: list[Source], noise: list[Source]) -> None:
    """Raise UserError for a file that is given both as a recording and as noise alone."""
    named = {source.file for source in recordings}
    for source in noise:
        if source.file in named:
            raise UserError(f"{source.name}: given as a recording and as noise alone; leave out one of the two")


def labelled(
    sources: list[Source],
    labels: PathLike | Sequence[PathLike] | None,
    rules: labelling.Rules,
    label_format: str | None,
) -> list[Source]:
    """The sources, with rules and their events where a label file lists them."""
    if labels is None:
        rules.require_found([])
        return sources
    events: dict[Path, list[labelling.Event]] = {}
    recordings = [source.recording() for source in sources]
    for path in [labels] if isinstance(labels, str | os.PathLike) else labels:
        for recording, found in labelling.listed(path, recordings, label_format).items():
            events.setdefault(recording, []).extend(found)
    rules.require_found(event for found in events.values() for event in found)
    return [replace(source, events=events.get(Path(source.name)), rules=rules) for source in sources]


def _spectrogram(preset: Preset, sources: list[Source], asked: _Asked) -> Spectrogram:
    """The spectrogram that was asked for, completed from labels, preset and recordings."""
    own = min(source.rate for source in sources)
    low, high = _band(preset, sources, asked, own)
    rate = _rate(preset, high, own) if asked.rate is None else asked.rate
    octaves = round(math.log2(max(rate, 1) / preset.rate))
    overlap = preset.n_fft // preset.hop
    n_fft = asked.n_fft
    if n_fft is None:
        n_fft = max(2, round(preset.n_fft * 2.0**octaves)) if asked.hop is None else asked.hop * overlap
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


def _band(preset: Preset, sources: list[Source], asked: _Asked, own: int) -> tuple[float, float]:
    """The band in Hz: as asked for, else of the labels, else of the preset; cut where the recordings end.

    Where bins are asked for and not the upper end, that is an estimate, for the choice of the rate.
    """
    labelled = labelling.band([event for source in sources for event in source.signal_events()])
    default = labelled or (preset.low, preset.high)
    low = default[0] if asked.low is None else asked.low
    if asked.high is not None:
        return low, asked.high
    if asked.bins is not None:
        return low, low + asked.bins * preset.rate / preset.n_fft
    limit = min(own, asked.rate or own) / 2
    if default[1] > limit:
        logger.warning("the band would end at %g Hz and is cut at half the rate, %g Hz", default[1], limit)
    return low, min(default[1], limit)


def _rate(preset: Preset, high: float, own: int) -> int:
    """The preset's rate, doubled until `high` fits below half of it, no higher than the recordings' own."""
    rate = preset.rate
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
    ratios, heard = theirs / np.maximum(its, np.finfo(np.float32).tiny), its > _HEARD * its.max()
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


class Samples(NamedTuple):
    """A recording's channels that are not silent, (T,) each, and their numbers from 1; its length and its RMS."""

    channels: list[NDArray[np.float32]]
    numbers: list[int]
    seconds: float
    level: float  # at its own rate, over all channels


def samples_of(source: Source, rate: int) -> Samples:
    """What a recording holds, resampled to `rate` Hz.

    Raises UserError where samples are none, not float, not finite or all silent.
    """
    if isinstance(source.audio, tuple):
        samples = np.asarray(source.audio[0])
        if not len(samples):
            raise UserError(f"{source.name}: there are no samples; leave it out")
        files.require_finite(samples, source.rate, source.name)
    else:
        samples, _ = files.read(source.audio)
    files.require_sound(samples, source.name)
    audible = samples.any(axis=0)
    _check_channels(source, int(audible.sum()), audible.size)
    numbers = [int(index) + 1 for index in np.flatnonzero(audible)]
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    resampled = resample(samples[:, audible], source.rate, rate)
    return Samples(list(resampled.T), numbers, len(samples) / source.rate, level)


def _cached(cache: Cache, spectrogram: Spectrogram, source: Source) -> list[tuple[Any, float, int]]:
    """What `_magnitudes` gives, on disk."""
    found = cache.features(source.audio)
    if not found.channels:
        files.require_sound(np.zeros(1), source.name)
    _check_channels(source, len(found.channels), found.count)
    _check_band(source, spectrogram, found.loudest, found.level)
    return [(magnitudes, found.seconds, channel) for channel, magnitudes in found.channels]


def _check_channels(source: Source, audible: int, count: int) -> None:
    if audible < count:
        logger.warning("%s: %d of %d channels are silent: left out", source.name, count - audible, count)
    labelling.require_channels(source.events or [], count, source.name)


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


def crop_frames(material: Material, wanted: int, pool: int) -> int:
    """Frames in a crop: as wanted, or fewer where the longest recording of either kind has fewer."""
    longest = {
        "what may have signal": max(map(len, material.signal)),
        "what is noise-only": max(map(len, material.noise)),
    }
    kind, frames = min(longest.items(), key=lambda item: item[1])
    if frames >= wanted:
        return wanted
    shrunk, least = frames - frames % pool, _LEAST_POOLS * pool
    rate = material.spectrogram.frame_rate
    if shrunk < least:
        raise UserError(
            f"{kind} lasts {frames / rate:.2f} s at most ({frames} frames) and training needs "
            f"{least / rate:.2f} s ({least} frames, {_LEAST_POOLS} pools); give longer recordings"
        )
    logger.warning("%s lasts %d frames at most: crops have %d frames instead of %d", kind, frames, shrunk, wanted)
    return shrunk
