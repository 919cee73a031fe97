"""The spectrograms that models with weak labels learn from: definition, level and noise-only frames."""

import hashlib
import logging
import math
import os
import shutil
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .. import labels as labelling
from ..audio import files
from ..audio.files import PathLike
from ..audio.offset import centred, offset_window
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..masking.rules import quantile_of_power
from ..scratch import ScratchFolder, remove_abandoned_folders
from .cache import Cache
from .distributed import current
from .material import NO_SOUND, Material, Source, check_apart, check_labels, labelled, samples_of
from .silence import sounding_frames
from .stored import excerpt, parts

logger = logging.getLogger("partae_fast")

IN_MEMORY = 2 << 30  # bytes of the spectrograms that are kept in memory without a cache
LONGEST = 1 << 18  # frames of either kind in an excerpt, which bounds memory
LEAST_BINS = 8  # in the band of a model
_LONGEST_WINDOW = 16  # times the default, for a narrow band of high frequencies
_ALIKE = 1.05  # ratio of rates, such as 22000 and 22050 Hz, that make no difference to the band
_LEAST_POOLS = 8  # pool windows in the shortest crop
# A recording whose largest magnitude in the band is below this share of its RMS has only rounding errors there.
# White noise of that RMS has magnitudes about sqrt(n_fft / 2) times it; float32 rounds at 6e-8.
_NOTHING = 1e-6
_EDGE_FRAMES = 16
_MISMATCH = 6.0  # dB by which recordings of noise may differ from the noise in the others, roughly estimated
_SCRATCH = ".partae-spectrograms-"  # prefix of temporary folders
_COMPARED = 1 << 16  # frames in that comparison
_AUDIBLE = 1e-6  # share of the loudest bin's power; quieter bins have only rounding errors


@dataclass(frozen=True)
class UsualSpectrogram:
    """A system's default spectrogram, which caller, labels and recordings may change; frequencies in Hz."""

    rate: int
    n_fft: int
    hop: int
    low: float
    high: float


@dataclass(frozen=True)
class AskedSpectrogram:
    """The caller's settings of the spectrogram; None leaves a choice to labels, system and recordings."""

    low: float | None = None
    high: float | None = None
    rate: int | None = None
    n_fft: int | None = None
    hop: int | None = None
    bins: int | None = None


@dataclass(frozen=True)
class Spectrograms:
    """Magnitudes (frames, bins) of each recording, all at one level.

    signal: of audio that may have signal. noise: of noise-only audio. With a cache they are on disk, each a
    `partae_fast.training.stored.Stored`.
    """

    spectrogram: Spectrogram
    signal: list[NDArray[np.float32]]
    noise: list[NDArray[np.float32]]

    def excerpt(self, seed: int, frames: int) -> "Spectrograms":
        """Return a part that fits into memory: all if it is there already, else random stretches of >= `frames`."""
        signal, noise = (excerpt(part, LONGEST, frames, seed) for part in (self.signal, self.noise))
        return Spectrograms(self.spectrogram, signal, noise)

    def sha256(self) -> str:
        """Return a digest of the magnitudes."""
        digest = hashlib.sha256()
        for magnitudes in (*self.signal, *self.noise):
            digest.update(str(magnitudes.shape).encode())
            digest.update(np.ascontiguousarray(magnitudes).data)
        return digest.hexdigest()

    def crop_frames(self, frames: int, pool: int) -> int:
        """Return the frames of a crop: `frames`, or fewer if the longest recording of either kind has fewer.

        Raises UserError if a crop would have fewer than 8 pool windows.
        """
        longest = {
            "audio that may have signal": max(map(len, self.signal)),
            "noise-only audio": max(map(len, self.noise)),
        }
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
    scratch: PathLike | None = None,
) -> Spectrograms:
    """Compute the spectrograms of a material's recordings and noise, and set its `spectrograms`.

    Args:
        material: recordings, and noise or labels or both.
        usual, asked: the system's and the caller's settings of the spectrogram; the caller's take precedence.
        level: root mean square of the signal's magnitudes, set by the spectrogram's gain.
        match_noise: whether to scale recordings of noise to the level of the noise in the others if it differs much.
        cache, progress: as for `TrainingOptions`.
        scratch: folder for a temporary cache, which is used without `cache` if spectrograms exceed 2 GiB. None for the
            system's folder of temporary files.

    Raises UserError if recordings, labels or settings cannot be used.
    """
    if not 0 < level < math.inf:
        raise UserError(f"level is {level}; it must be a number above 0")
    signal_sources = material.sources("recordings")
    if not (material.noise or material.labels):
        raise UserError("there is no noise: give recordings of noise alone, or labels for the recordings")
    noise_sources = material.sources("noise") if material.noise else []
    signal_sources = labelled(signal_sources, material.labels, material.label_rules)
    check_apart(signal_sources, noise_sources)
    every = [*signal_sources, *noise_sources]
    spectrogram = spectrogram_for(every, usual, asked)
    temporary = None if cache is not None else _temporary_cache(every, spectrogram, scratch)
    cache = cache if temporary is None else temporary.name
    filled = None if cache is None else _filled(Cache(cache, spectrogram, temporary), every, progress)
    signal, noise_only, noise_recordings = _features(spectrogram, signal_sources, noise_sources, filled, material)
    if match_noise and noise_recordings:
        _match(signal, noise_recordings, spectrogram)
    noise_only += noise_recordings
    levelled = _level(level, spectrogram, signal, noise_only)
    material.spectrograms = Spectrograms(levelled, signal, noise_only)
    return material.spectrograms


def spectrogram_for(sources: list[Source], usual: UsualSpectrogram, asked: AskedSpectrogram) -> Spectrogram:
    """Return the caller's spectrogram, completed from labels, the system's default and the recordings.

    Raises UserError if it has fewer than 8 bins.
    """
    lowest_rate = min(source.rate for source in sources)
    labels = labelling.band([event for source in sources for event in source.signal_events()])
    if labels is None:
        usual = _lowered(usual, asked, lowest_rate)
    low, high = _band(usual, labels, sources, asked)
    rate = _rate(usual, high, lowest_rate) if asked.rate is None else asked.rate
    octaves = round(math.log2(max(rate, 1) / usual.rate))
    overlap = usual.n_fft // usual.hop
    n_fft = asked.n_fft
    if n_fft is None:
        n_fft = max(2, round(usual.n_fft * 2.0**octaves)) if asked.hop is None else asked.hop * overlap
    if asked == AskedSpectrogram(low=asked.low, high=asked.high):
        rate, n_fft = _resolved(low, high, rate, n_fft)
    spectrogram = Spectrogram(
        rate=rate,
        n_fft=n_fft,
        hop=n_fft // overlap if asked.hop is None else asked.hop,
        low=low,
        high=None if asked.high is None and asked.bins else high,  # pyright: ignore[reportArgumentType]
        bins=asked.bins,  # pyright: ignore[reportArgumentType]
    )
    if spectrogram.bins < LEAST_BINS:
        raise UserError(
            f"the band from {spectrogram.low:g} to {spectrogram.high:g} Hz has {spectrogram.bins} bins, "
            f"{rate / n_fft:.3g} Hz apart, and a model needs {LEAST_BINS}; choose a wider band with low and high, or "
            "longer windows with n_fft"
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
    if spectrogram.high > lowest_rate / 2:
        logger.warning(
            "the band ends at %g Hz, and %s at %d Hz ends at %g",
            spectrogram.high,
            _slowest(sources),
            lowest_rate,
            lowest_rate / 2,
        )
    return spectrogram


def _lowered(usual: UsualSpectrogram, asked: AskedSpectrogram, lowest_rate: int) -> UsualSpectrogram:
    """Return the default spectrogram for recordings of a low rate, octaves lower if they end far below its band.

    Its bins are then closer together and its windows longer, so that a quarter of its bins or more is in the band of
    the recordings.
    """
    if asked != AskedSpectrogram(low=asked.low, high=asked.high):
        return usual
    spacing, limit = usual.rate / usual.n_fft, lowest_rate / 2
    least, octaves = (usual.high - usual.low) / spacing / 4, 0
    while (limit - usual.low / 2**octaves) / (spacing / 2**octaves) < least:
        octaves += 1
    if not octaves:
        return usual
    rate = max(1, round(usual.rate / 2**octaves))
    return UsualSpectrogram(rate, usual.n_fft, usual.hop, usual.low / 2**octaves, usual.high / 2**octaves)


def _band(
    usual: UsualSpectrogram, labels: tuple[float, float] | None, sources: list[Source], asked: AskedSpectrogram
) -> tuple[float, float]:
    """Return the band in Hz: the caller's, else the labels', else the default; cut at half the recordings' rate.

    If the caller sets bins but not the upper end, that end is an estimate, for the choice of the rate.
    """
    default = labels or (usual.low, usual.high)
    low = default[0] if asked.low is None else asked.low
    if asked.high is not None:
        return low, asked.high
    if asked.bins is not None:
        return low, low + asked.bins * usual.rate / usual.n_fft
    rates = sorted({source.rate for source in sources})
    limit = min(rates[0], asked.rate or rates[0]) / 2
    if default[1] <= limit:
        return low, default[1]
    next_limit = min(default[1], rates[1] / 2) if len(rates) > 1 else limit
    if limit < rates[0] / 2 or next_limit < limit * _ALIKE:
        logger.warning("the band would end at %g Hz and is cut at half the rate, %g Hz", default[1], limit)
    else:
        logger.warning(
            "the band of all recordings ends at %g Hz instead of %g Hz because of %s at %d Hz, and sound above it will "
            "be removed: leave that out, or keep the band with low and high (--low, --high)",
            limit,
            next_limit,
            _slowest(sources),
            rates[0],
        )
    return low, limit


def _slowest(sources: list[Source]) -> str:
    """Return the name of the first recording with the lowest rate, and how many others have it."""
    lowest_rate = min(source.rate for source in sources)
    names = [source.name for source in sources if source.rate == lowest_rate]
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _rate(usual: UsualSpectrogram, high: float, lowest_rate: int) -> int:
    """Return the default rate, doubled until `high` is below half of it, at most the recordings' rate."""
    rate = usual.rate
    while high > rate / 2 and rate < lowest_rate:
        rate = min(2 * rate, lowest_rate)
    return rate


def _resolved(low: float, high: float, rate: int, n_fft: int) -> tuple[int, int]:
    """Return rate and n_fft for a narrow band, with the rate halved or n_fft doubled until it has 8 bins or more.

    The rate is at least twice the highest frequency, and n_fft at most 16 times its default.
    """
    longest = _LONGEST_WINDOW * n_fft
    while low < high and (high - low) * n_fft / rate < LEAST_BINS:
        if high <= rate / 4:
            rate //= 2
        elif n_fft < longest:
            n_fft *= 2
        else:
            break
    return rate, n_fft


def _features(
    spectrogram: Spectrogram,
    signal_sources: list[Source],
    noise_sources: list[Source],
    cache: Cache | None,
    material: Material,
) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]], list[NDArray[np.float32]]]:
    """Return magnitudes (frames, bins) of audio that may have signal, of labelled noise, and of noise recordings.

    Digital silence is left out of the noise.
    """
    signal, noise, recorded_noise = [], [], []
    any_silence = False

    def sounding(features: "_Channel", mask: NDArray[np.bool_], name: str) -> list[Any]:
        """Return the frames of noise that are in the mask and not digital silence."""
        nonlocal any_silence
        heard = mask & sounding_frames(features.magnitudes, features.level, spectrogram)
        silent, count = int(mask.sum() - heard.sum()), int(mask.sum())
        material.name_silence(name, silent / spectrogram.frame_rate, count / spectrogram.frame_rate)
        any_silence |= silent > 0
        return (
            [features.magnitudes[heard] if silent or count < len(mask) else features.magnitudes] if heard.any() else []
        )

    for source in signal_sources:
        for channel in _magnitudes(spectrogram, source, cache):
            magnitudes = channel.magnitudes
            if source.events is None:
                signal.append(magnitudes)
                continue
            timeline = labelling.Timeline.from_events(
                source.events, channel.seconds, source.rules, source.name, channel.number
            )
            noise += sounding(channel, timeline.noise_frames(len(magnitudes), spectrogram), source.name)
            mask = timeline.signal_frames(len(magnitudes), spectrogram)
            signal += [magnitudes[mask]] if mask.any() else []
    for source in noise_sources:
        for channel in _magnitudes(spectrogram, source, cache):
            recorded_noise += sounding(channel, np.ones(len(channel.magnitudes), bool), source.name)
    if not (noise or recorded_noise) and any_silence:
        raise UserError(f"{NO_SOUND}; give other recordings")
    if not (noise or recorded_noise):
        raise UserError(
            "the labels leave no stretch that is noise-only; give noise, labels with gaps between events, or a shorter "
            "guard"
        )
    if not signal:
        raise UserError("all labelled time is noise-only or unknown; add recordings with signal")
    return signal, noise, recorded_noise


def _match(signal: list[NDArray[np.float32]], noise: list[NDArray[np.float32]], spectrogram: Spectrogram) -> None:
    """Scale recordings of noise to the level of the noise in the other recordings if it differs much.

    The difference is the lower quartile, over bins, of the ratio of medians over time: songs raise the other bins.
    """
    # On halves of real recordings of noise the estimate was 1 dB too low to 2 dB too high unless the noise had changed.
    signal_power, noise_power = (quantile_of_power(recordings, 0.5, _COMPARED) for recordings in (signal, noise))
    ratios = signal_power / np.maximum(noise_power, np.finfo(np.float32).tiny)
    audible = noise_power > _AUDIBLE * noise_power.max()
    mismatch = 10 * math.log10(max(float(np.quantile(ratios[audible], 0.25)), 1e-12)) if audible.any() else 0.0
    if abs(mismatch) <= _MISMATCH:
        return
    logger.warning(
        "recordings of noise are about %.0f dB %s than the noise in the other recordings: scaled to its level",
        abs(mismatch),
        "quieter" if mismatch > 0 else "louder",
    )
    for magnitudes in noise:
        magnitudes *= np.float32(10 ** (mismatch / 20))


def _temporary_cache(sources: list[Source], spectrogram: Spectrogram, scratch: PathLike | None) -> ScratchFolder | None:
    """Return a temporary folder for the spectrograms if they are too large for memory, else None.

    Raises UserError if the disk has not enough space, and with several processes, which need a common folder.
    """
    remove_abandoned_folders(_SCRATCH, scratch)
    channel_seconds = sum(source.channel_seconds for source in sources)
    size = int(channel_seconds * spectrogram.frame_rate * spectrogram.bins * 4)
    if size <= IN_MEMORY:
        return None
    about = f"the spectrograms of {channel_seconds / 3600:.1f} h of audio take {size / 1e9:.1f} GB"
    if current().count > 1:
        raise UserError(f"{about}; give a folder for them with cache (--cache), which all processes can read")
    folder = ScratchFolder(_SCRATCH, scratch)
    free = shutil.disk_usage(folder.name).free
    if size > free:
        where = os.path.dirname(folder.name)
        folder.cleanup()
        raise UserError(
            f"{about}, and {where} has {free / 1e9:.1f} GB left; give a folder on a larger disk with cache (--cache)"
        )
    logger.info("%s: they are stored in %s during training; --cache FOLDER would keep them", about, folder.name)
    return folder


def _filled(cache: Cache, sources: list[Source], progress: bool | None) -> Cache:
    """Fill the cache with the spectrograms of all sources that are files, each rank with its share; return it."""
    ranks = current()
    recordings = [source.audio for source in sources if not isinstance(source.audio, tuple)]
    cache.fill(recordings[ranks.rank :: ranks.count], progress=progress if ranks.leads else False)
    ranks.gather(None)
    return cache


class _Channel(NamedTuple):
    """Magnitudes (frames, bins) of a channel, the recording's length in seconds, the channel's number, and the RMS."""

    magnitudes: Any
    seconds: float
    number: int  # from 1
    level: float


def _magnitudes(spectrogram: Spectrogram, source: Source, cache: Cache | None) -> list[_Channel]:
    """Return each channel that is not silent."""
    if cache is not None and not isinstance(source.audio, tuple):
        return _cached(cache, spectrogram, source)
    samples, window = samples_of(source, spectrogram.rate), offset_window(spectrogram)
    channels = [
        _Channel(spectrogram.magnitude(centred(channel, window)), samples.seconds, number, samples.level)
        for channel, number in zip(samples.channels, samples.numbers, strict=True)
    ]
    loudest = max(_interior_level(channel.magnitudes) for channel in channels)
    if len(samples.channels[0]):
        _check_band(source, spectrogram, loudest, samples.level)
    return channels


def _cached(cache: Cache, spectrogram: Spectrogram, source: Source) -> list[_Channel]:
    """Return the channels of `_magnitudes` from the cache, on disk."""
    features = cache.features(source.audio)
    if not features.channels:
        files.require_sound(np.zeros(1), source.name)
    check_labels(source, len(features.channels), features.count, features.seconds)
    _check_band(source, spectrogram, features.loudest, features.level)
    return [_Channel(stored, features.seconds, number, features.level) for number, stored in features.channels]


def _check_band(source: Source, spectrogram: Spectrogram, loudest: float, level: float) -> None:
    """Raise UserError if the largest magnitude in the band is only a rounding error of the recording's level."""
    if loudest <= _NOTHING * level:
        raise UserError(
            f"{source.name}: is silent from {spectrogram.low:g} to {spectrogram.high:g} Hz; "
            "choose another band or leave it out"
        )


def _interior_level(magnitudes: NDArray[np.float32]) -> float:
    """Return the largest magnitude away from both ends, at which an offset looks like a click."""
    edge = min(_EDGE_FRAMES, len(magnitudes) // 4)
    return float(magnitudes[edge : len(magnitudes) - edge].max(initial=0.0))


def _level(
    level: float, spectrogram: Spectrogram, signal: list[NDArray[np.float32]], noise: list[NDArray[np.float32]]
) -> Spectrogram:
    """Scale all magnitudes so that the signal's RMS is `level`; return the spectrogram with that gain."""
    # Not a BLAS product, whose sum may depend on the number of threads, and with it the bits of training.
    square = sum(float(np.einsum("th,th->", m, m, dtype=np.float64)) for recording in signal for m in parts(recording))
    rms = math.sqrt(square / sum(m.size for m in signal))
    if not rms > 0:
        raise UserError(f"all is silent from {spectrogram.low:g} to {spectrogram.high:g} Hz; choose another band")
    gain = level / rms
    for magnitudes in (*signal, *noise):
        magnitudes *= np.float32(gain)
    return replace(spectrogram, gain=gain)
