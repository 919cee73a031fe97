"""Weak labels: which stretches of a recording hold noise alone.

Labels have three states. Time inside an event has signal. Time outside every event of a recording that is
listed is noise-only, the whole of it where there are no events. A recording that is not listed is unknown,
and is never taken for noise.

A reader of a label format is a function from a path to a list of Events.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .audio.files import PathLike, require_file
from .audio.spectrogram import Spectrogram
from .errors import UserError

logger = logging.getLogger("partae_fast")

# Seconds around each event that count as signal too. People place the edges of a call by eye to some 50 ms,
# and reverberation outlasts the call; wider margins would swallow the gaps between calls, often only 0.3 s
# long.
GUARD = 0.1
# Seconds by which a label may pass the end of its recording: editors round, and selections snap to pixels.
TOLERANCE = 0.1


@dataclass(frozen=True)
class Event:
    """One label: from `start` to `end` in seconds, `low` to `high` in Hz where the label says so."""

    start: float
    end: float
    label: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Timeline:
    """The signal stretches of a recording that was labelled; the rest of it is noise-only.

    `signal` is a tuple of (start, end) in seconds, in order, apart, guard margins included, within 0 ..
    seconds.
    """

    seconds: float
    signal: tuple[tuple[float, float], ...]

    @classmethod
    def from_events(
        cls, events: Sequence[Event], seconds: float, guard: float = GUARD, name: str = "labels"
    ) -> "Timeline":
        """The timeline of a recording `seconds` long, with `guard` seconds of signal added around each event.

        Raises UserError, beginning with `name`, where an event passes the end of the recording.

        >>> Timeline.from_events([Event(1.0, 2.0), Event(2.1, 3.0)], seconds=10.0).signal
        ((0.9, 3.1),)
        """
        if not (guard >= 0 and math.isfinite(guard)):
            raise UserError(f"guard is {guard} s; it must be 0 or more")
        late = max((event.end for event in events), default=0.0)
        if late > seconds + TOLERANCE:
            raise UserError(
                f"{name}: a label ends at {late:.3f} s and the recording at {seconds:.3f} s; "
                "give the labels that belong to this recording"
            )
        merged: list[tuple[float, float]] = []
        for event in sorted(events, key=lambda event: event.start):
            start, end = max(0.0, event.start - guard), min(seconds, event.end + guard)
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            elif start <= end:
                merged.append((start, end))
        return cls(seconds, tuple(merged))

    @property
    def noise(self) -> tuple[tuple[float, float], ...]:
        """The noise-only stretches, as (start, end) in seconds."""
        edges = [0.0, *(edge for stretch in self.signal for edge in stretch), self.seconds]
        pairs = zip(edges[::2], edges[1::2], strict=True)
        return tuple((start, end) for start, end in pairs if start < end)

    def noise_samples(self, length: int, rate: float) -> NDArray[np.bool_]:
        """Which of `length` samples at `rate` Hz are noise-only, (length,)."""
        return self._outside(np.arange(length) / rate, 0.0)

    def noise_frames(self, frames: int, spectrogram: Spectrogram) -> NDArray[np.bool_]:
        """Which of a spectrogram's `frames` are noise-only, (frames,): those whose whole window is."""
        times = np.arange(frames) / spectrogram.frame_rate
        return self._outside(times, spectrogram.n_fft / 2 / spectrogram.rate)

    def _outside(self, times: NDArray[np.floating], reach: float) -> NDArray[np.bool_]:
        """Which of `times` are further than `reach` from every signal stretch."""
        outside = np.ones(len(times), bool)
        for start, end in self.signal:
            first, last = np.searchsorted(times, start - reach), np.searchsorted(times, end + reach, "right")
            outside[first:last] = False
        return outside


def cut(
    samples: NDArray[np.floating], noise_only: NDArray[np.bool_]
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Samples or frames (T, ...) -> those that are noise-only, joined, and the rest, joined.

    Cut spectrogram frames rather than samples where you can: joined samples click where they meet.
    """
    if len(samples) != len(noise_only):
        raise UserError(f"cut: {len(samples)} samples or frames and {len(noise_only)} flags; give one flag to each")
    return samples[noise_only], samples[~noise_only]


def band(events: Sequence[Event]) -> tuple[float, float] | None:
    """The lowest and the highest frequency of the events in Hz, so that none is cut; None if unknown."""
    lows = [event.low for event in events if event.low is not None]
    highs = [event.high for event in events if event.high is not None]
    return (min(lows), max(highs)) if lows and highs else None


def listed(path: PathLike, recordings: Sequence[PathLike]) -> dict[Path, list[Event]]:
    """The recordings that the label file `path` speaks for, each with its events; one left out is unknown.

    An Audacity track names no recording. It speaks for the only one given; of several, for its namesake:
    spinetail.audacity.txt or spinetail.txt for spinetail.flac.

    Raises UserError where the file is malformed or speaks for none of several recordings.
    """
    events = read_audacity(path)
    named = [Path(recording) for recording in recordings]
    if len(named) > 1:
        named = [recording for recording in named if Path(path).name.startswith(recording.stem + ".")]
        if len(named) != 1:
            raise UserError(
                f"{path}: {len(named)} of the {len(recordings)} recordings have its name, and labels are for "
                "one; name the label file as its recording, or give that recording alone"
            )
        logger.info("%s: labels %s; the other recordings are unknown, not noise", path, named[0])
    return dict.fromkeys(named, events)


def read_audacity(path: PathLike) -> list[Event]:
    r"""The events of an Audacity label track, in the order of the file; an empty file has none.

    Plain: a line `start<TAB>end<TAB>label` for each, times in seconds. Extended: followed by a line
    `\<TAB>low<TAB>high` in Hz, where -1 stands for a frequency that is not known.

    Raises UserError for a file that cannot be read and, with the line's number, for a line that is neither.
    """
    events: list[Event] = []
    bounded = True  # whether the event last read has its frequency line, or may not have one
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        if not line.startswith("\\"):
            events.append(_event(line, f"{path}, line {number}"))
        elif bounded:
            raise UserError(f"{path}, line {number}: a frequency line must follow a time line; remove it")
        else:
            low, high = _frequencies(line, f"{path}, line {number}")
            last = events[-1]
            events[-1] = Event(last.start, last.end, last.label, low, high)
        bounded = line.startswith("\\")
    return events


def _lines(path: PathLike) -> list[str]:
    place = require_file(path, empty=True)
    try:
        return place.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text; export the labels from Audacity: File, Export, Labels") from None


def _event(line: str, where: str) -> Event:
    fields = line.split("\t", 2)
    start, end = _numbers(fields[:2], where, "start<TAB>end<TAB>label, in seconds")
    if not 0 <= start <= end:
        raise UserError(f"{where}: from {start:g} to {end:g} s; a label must start at 0 or later and end after it")
    return Event(start, end, fields[2].strip() if len(fields) > 2 else "")


def _frequencies(line: str, where: str) -> tuple[float | None, float | None]:
    low, high = _numbers(line.split("\t")[1:], where, "\\<TAB>low<TAB>high, in Hz")
    known = (low if low >= 0 else None, high if high >= 0 else None)
    if known[0] is not None and known[1] is not None and known[0] > known[1]:
        raise UserError(f"{where}: from {low:g} to {high:g} Hz; the lower frequency must come first: swap them")
    return known


def _numbers(fields: Sequence[str], where: str, form: str) -> tuple[float, float]:
    try:
        first, second = map(float, fields)
    except ValueError:
        seen = " ".join(fields).strip()[:40]
        raise UserError(f"{where}: {seen!r} found; the line must be {form}, with a point in numbers") from None
    if not (math.isfinite(first) and math.isfinite(second)):
        raise UserError(f"{where}: {first} and {second} found; both must be finite numbers")
    return first, second
