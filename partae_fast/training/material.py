"""The material that models learn from: recordings of several kinds and labels for them."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import labels as labelling
from ..audio import files
from ..audio.arrays import columns_of
from ..audio.files import PathLike
from ..audio.folders import recordings_in
from ..audio.resample import resample
from ..errors import UserError
from .silence import sounding_stretches

if TYPE_CHECKING:
    from .spectrograms import Spectrograms

logger = logging.getLogger("partae_fast")

_PIECES = 8  # of a recording that is longer than what is to be read

Audio = PathLike | tuple[ArrayLike, int]  # a file, or samples (T,) or (T, channels) and their rate in Hz

# The kinds of material, as messages call them.
KINDS = {
    "recordings": "noisy recordings",
    "noise": "noise-only recordings (--noise)",
    "labels": "label files (--labels)",
    "clean": "clean recordings of the signal (--clean)",
    "stems": "folders of songs as stems (--stems)",
    "speech": "folders of speech (--speech)",
}
NO_SOUND = "all noise-only audio is digital silence, or fragments of sound between it"
_ONE = {"recordings": "recording", "noise": "noise recording", "clean": "clean recording"}


@dataclass(frozen=True)
class Source:
    """A recording before its samples are read."""

    name: str
    audio: Audio
    rate: int
    events: list[labelling.Event] | None = None  # None if no label file lists it
    rules: labelling.Rules = field(default_factory=labelling.Rules)
    channel_seconds: float = 0.0  # duration of a file times its channels; 0 for samples in memory

    @property
    def file(self) -> PathLike:
        """A key that two sources share only if they are the same file."""
        return self.name if isinstance(self.audio, tuple) else Path(self.name).resolve()

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        if isinstance(self.audio, tuple):
            return len(np.asarray(self.audio[0])) / self.rate
        return files.info(self.audio).seconds

    def recording(self) -> PathLike | labelling.Recording:
        """Return the form that labels are matched to: a file, or samples with their length."""
        if not isinstance(self.audio, tuple):
            return self.name
        return labelling.Recording(self.name, self.seconds, self.rate)

    def signal_events(self) -> list[labelling.Event]:
        return [event for event in self.events or [] if self.rules.state(event) == "signal"]


def path_list(paths: PathLike | Sequence[PathLike] | None) -> list[PathLike]:
    """Return one path, several, or None as a list."""
    return [paths] if isinstance(paths, str | os.PathLike) else list(paths or ())


@dataclass
class Material:
    """The material of a training: lists of files, folders or pairs (samples, rate in Hz), one for each of `KINDS`.

    A folder stands for every audio file in it and its subfolders, except in `stems` and `speech`, whose folders are
    songs and speakers. `label_rules` selects the labels that count; see `partae_fast.labels.Rules`.

    Attributes:
        spectrograms: those of recordings and noise, set by the last system that learned from spectrograms.

    Raises UserError for a single recording in place of a list.
    """

    recordings: Sequence[Audio] = ()
    noise: Sequence[Audio] = ()
    labels: Sequence[PathLike] = ()
    clean: Sequence[Audio] = ()
    stems: Sequence[PathLike] = ()
    speech: Sequence[PathLike] = ()
    label_rules: labelling.Rules = field(default_factory=labelling.Rules)
    spectrograms: "Spectrograms | None" = field(default=None, init=False)
    _with_silence: set[str] = field(default_factory=set, init=False, repr=False)

    def __post_init__(self) -> None:
        for kind, name in _ONE.items():
            value = getattr(self, kind)
            if isinstance(value, str | os.PathLike):
                raise UserError(f"{value}: a single {name}; give a list of them")
        for kind in ("labels", "stems", "speech"):
            setattr(self, kind, path_list(getattr(self, kind)))

    def channels(self, kind: str, rate: int) -> list[NDArray[np.float32]]:
        """Return the channels of a kind's recordings that are not silent, (T,) each at `rate` Hz, in order.

        Channels of noise are divided at digital silence, which is left out.
        """
        channels = []
        for source in self.sources(kind):
            samples = samples_of(source, rate).channels
            channels += self.sounding(samples, rate, source.name) if kind == "noise" else samples
        if kind == "noise" and not channels:
            raise UserError(f"{NO_SOUND}; give other recordings")
        return channels

    def sounding(self, noise: Sequence[NDArray[np.float32]], rate: int, name: str) -> list[NDArray[np.float32]]:
        """Return the stretches of noise-only audio, (T,) each at `rate` Hz, without digital silence."""
        stretches = [stretch for channel in noise for stretch in sounding_stretches(channel, rate)]
        before, after = sum(map(len, noise)), sum(map(len, stretches))
        self.name_silence(name, (before - after) / rate, before / rate)
        return stretches

    def name_silence(self, name: str, silent: float, seconds: float) -> None:
        """Log a warning, once for each recording, if some seconds of its noise-only audio are digital silence."""
        if silent > 0 and name not in self._with_silence:
            self._with_silence.add(name)
            logger.warning(
                "%s: %.2f of %.2f s of noise-only audio are digital silence: left out", name, silent, seconds
            )

    def weakly_labelled(
        self, rate: int, most: int | None = None, seed: int = 0
    ) -> tuple[list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Return the audio that may have signal and the noise-only audio, as stretches (T,) at `rate` Hz.

        With `most`, recordings are read in an order that the seed decides until there are so many samples of either
        kind; the rest is left out.

        Raises UserError if either is empty.
        """
        signal: list[NDArray[np.float32]] = []
        noise: list[NDArray[np.float32]] = []
        sources, of_noise = self.labelled_sources(), self.sources("noise") if self.noise else []
        if of_noise:
            check_apart(sources, of_noise)
        for source, piece in _pieces(of_noise, rate, most, seed):
            if most is None or sum(map(len, noise)) < most:
                noise += self.sounding(samples_of(source, rate, piece).channels, rate, source.name)
        for source, piece in _pieces(sources, rate, most, seed):
            if most is not None and sum(map(len, signal)) >= most and (of_noise or sum(map(len, noise)) >= most):
                break
            samples = samples_of(source, rate, piece)
            for channel, number in zip(samples.channels, samples.numbers, strict=True):
                if source.events is None:
                    signal.append(channel)
                    continue
                timeline = labelling.Timeline.from_events(
                    source.events, samples.seconds, source.rules, source.name, number
                )
                first = 0.0 if piece is None else piece[0]
                for kind, stretches in ((signal, timeline.signal), (noise, timeline.noise)):
                    ends = ([max(0, round((end - first) * rate)) for end in stretch] for stretch in stretches)
                    inside = [channel[start:end] for start, end in ends if start < min(end, len(channel))]
                    kind += self.sounding(inside, rate, source.name) if kind is noise else inside
        if not signal:
            raise UserError("all labelled time is noise-only or unknown; add recordings with signal")
        if not noise and self._with_silence:
            raise UserError(f"{NO_SOUND}; give other recordings")
        if not noise:
            raise UserError("there is no noise-only time; give --noise, or labels with gaps between events")
        return signal, noise

    def sources(self, kind: str) -> list["Source"]:
        """Return the sources of a kind, with their headers read."""
        audio = [
            file
            for item in getattr(self, kind)
            for file in (recordings_in(item) if not isinstance(item, tuple) and Path(item).is_dir() else [item])
        ]
        return sources_of(_ONE[kind], audio)

    def labelled_sources(self) -> list["Source"]:
        """Return the noisy recordings, with their events if a label file lists them."""
        return labelled(self.sources("recordings"), self.labels, self.label_rules)


def _pieces(
    sources: list["Source"], rate: int, most: int | None, seed: int
) -> Iterator[tuple["Source", tuple[float, float] | None]]:
    """Iterate over the sources, each with None for all of it; or, with `most`, in an order that the seed decides.

    A source that is longer than `most` samples is then divided into pieces (start, length) in s, evenly spaced over it.
    """
    if most is None:
        yield from ((source, None) for source in sources)
        return
    rng, longest = np.random.default_rng([seed, 0xF1]), most / rate
    for source in (sources[i] for i in rng.permutation(len(sources))):
        if source.seconds <= longest:
            yield source, None
            continue
        length = longest / _PIECES
        for number in range(_PIECES):
            yield source, ((number + rng.random()) * (source.seconds - length) / _PIECES, length)


def sources_of(kind: str, recordings: Sequence[Audio]) -> list[Source]:
    """Return a source for each recording, with its header read or its samples as (T, channels)."""
    sources = []
    for index, audio in enumerate(recordings):
        if isinstance(audio, tuple):
            name = f"{kind} {index}"
            sources.append(Source(name, (columns_of(audio[0], name), audio[1]), int(audio[1])))
        else:
            header = files.info(audio)
            sources.append(Source(str(audio), audio, header.rate, channel_seconds=header.seconds * header.channels))
    if not sources:
        raise UserError(f"there is no {kind}; give at least one")
    return _unique(sources)


def _unique(sources: list[Source]) -> list[Source]:
    """Return the sources without repeated files."""
    unique = {}
    for source in sources:
        if source.file in unique:
            logger.warning("%s: is the same file as %s; it is used once", source.name, unique[source.file].name)
        unique.setdefault(source.file, source)
    return list(unique.values())


def check_apart(recordings: list[Source], noise: list[Source]) -> None:
    """Raise UserError for a file that is both a recording and noise."""
    recorded_files = {source.file for source in recordings}
    for source in noise:
        if source.file in recorded_files:
            raise UserError(f"{source.name}: is both a recording and noise; leave out one of the two")


def labelled(sources: list[Source], labels: Sequence[PathLike], rules: labelling.Rules) -> list[Source]:
    """Return the sources with rules, and with their events if a label file lists them."""
    if not labels:
        rules.require_labels_exist([])
        return sources
    events: dict[Path, list[labelling.Event]] = {}
    recordings = [source.recording() for source in sources]
    for path in labels:
        for recording, listed in labelling.match_recordings(path, recordings, rules.label_format).items():
            events.setdefault(recording, []).extend(listed)
    rules.require_labels_exist(event for listed in events.values() for event in listed)
    return [replace(source, events=events.get(Path(source.name)), rules=rules) for source in sources]


class Samples(NamedTuple):
    """The channels of a recording that are not silent, (T,) each, their numbers from 1, its length and its RMS."""

    channels: list[NDArray[np.float32]]
    numbers: list[int]
    seconds: float
    level: float  # RMS at the recording's rate, over all channels


def samples_of(source: Source, rate: int, piece: tuple[float, float] | None = None) -> Samples:
    """Read a recording, or a piece (start, length) of it in s, and resample it to `rate` Hz.

    Raises UserError if samples are missing, not float, not finite, or, in the whole recording, all silent.
    """
    first, count = (0, None) if piece is None else (round(value * source.rate) for value in piece)
    if isinstance(source.audio, tuple):
        samples = np.asarray(source.audio[0])[first : None if count is None else first + count]
        if not len(samples):
            raise UserError(f"{source.name}: has no samples; leave it out")
        files.require_finite(samples, source.rate, source.name)
    else:
        samples, _ = files.read(source.audio, count, first)
    if piece is None:
        files.require_sound(samples, source.name)
    audible = samples.any(axis=0)
    if piece is None:
        check_labels(source, int(audible.sum()), audible.size, len(samples) / source.rate)
    numbers = [int(index) + 1 for index in np.flatnonzero(audible)]
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))
    resampled = resample(samples[:, audible], source.rate, rate).T if numbers else []
    return Samples(list(resampled), numbers, len(samples) / source.rate if piece is None else source.seconds, level)


def check_labels(source: Source, audible: int, count: int, seconds: float) -> None:
    """Log warnings about silent channels and about labels past the end; raise UserError for channels that are none."""
    if audible < count:
        logger.warning("%s: %d of %d channels are silent: left out", source.name, count - audible, count)
    labelling.require_channels(source.events or [], count, source.name)
    labelling.warn_of_overrun(source.events or [], seconds, source.rules, source.name)
