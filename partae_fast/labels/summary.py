"""What labels say of recordings, before anything is trained on them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..audio import files
from ..audio.files import PathLike
from ..errors import UserError
from .event import Event
from .formats import read_labels
from .listed import Recording, listed
from .timeline import TOLERANCE, Rules, Timeline

_SUCH = 3  # names that a warning tells


@dataclass(frozen=True)
class Part:
    """A recording, or one channel of it where labels are of channels. One that is not listed is unknown throughout."""

    name: str
    channel: int | None
    listed: bool
    events: list[Event]
    timeline: Timeline

    @property
    def title(self) -> str:
        """To print: what no text can hold of a file's name is escaped."""
        name = _printable(self.name)
        return name if self.channel is None else f"{name}, channel {self.channel}"

    def stretches(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """(start, end) in seconds, by state."""
        line = self.timeline
        return {"signal": line.signal, "noise-only": line.noise, "unknown": line.unknown}

    def seconds(self) -> dict[str, float]:
        """By state."""
        return {state: _length(stretches) for state, stretches in self.stretches().items()}


@dataclass(frozen=True)
class Label:
    """How often a label is given, for how many seconds in all (None where that is not known), and what it counts as."""

    label: str
    events: int
    seconds: float | None
    counts_as: str


@dataclass(frozen=True)
class Summary:
    """What `summarise` found; warnings are a line each."""

    parts: list[Part] = field(default_factory=list)
    labels: list[Label] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Seconds are rounded to microseconds."""
        return {
            "recordings": [
                {
                    "name": part.name,
                    "channel": part.channel,
                    "listed": part.listed,
                    "events": len(part.events),
                    "duration": round(part.timeline.seconds, 6),
                    "seconds": {state: round(seconds, 6) for state, seconds in part.seconds().items()},
                    "stretches": {
                        state: [[round(edge, 6) for edge in stretch] for stretch in stretches]
                        for state, stretches in part.stretches().items()
                    },
                }
                for part in self.parts
            ],
            "labels": [vars(label) for label in self.labels],
            "warnings": self.warnings,
        }


def summarise(
    label_files: Sequence[PathLike],
    recordings: Sequence[PathLike],
    rules: Rules | None = None,
) -> Summary:
    """What label files say of recordings, whose headers alone are read.

    A recording that cannot be read is left out, with a warning. Without recordings, the labels alone are told.

    Raises UserError as `listed` does, and where a label that the rules name is nowhere.
    """
    rules, warnings = rules or Rules(), []
    about: dict[Path, files.AudioInfo] = {}
    for recording in recordings:
        try:
            about[Path(recording)] = files.info(recording)
        except UserError as error:
            warnings.append(f"{_printable(str(error))}; left out")
    if not about:
        return _of_labels_alone(label_files, rules, warnings)
    events: dict[Path, list[Event]] = {}
    given = [Recording(str(place), info.seconds, info.rate) for place, info in about.items()]
    for path in label_files:
        for place, found in listed(path, given, rules.label_format).items():
            events.setdefault(place, []).extend(found)
    rules.require_found(event for found in events.values() for event in found)
    parts = []
    for place, info in about.items():
        its = events.get(place)
        warnings += _faults(place, its or [], info)
        parts += _parts(place, its, info, rules)
    counted = [(event, str(place)) for place, found in events.items() for event in found]
    return Summary(parts, _labels(counted, rules), warnings + _signs(parts))


def _of_labels_alone(label_files: Sequence[PathLike], rules: Rules, warnings: list[str]) -> Summary:
    counted, known = [], True
    for path in label_files:
        table = read_labels(path, rules.label_format)
        known &= not table.samples
        counted += [(row.event, f"{path} {row.recording}") for row in table.rows if row.event]
    rules.require_found(event for event, _ in counted)
    found = [label if known else replace(label, seconds=None) for label in _labels(counted, rules)]
    return Summary([], found, [*warnings, "no recording is there, so times are not known; name some with --recordings"])


def _parts(place: Path, events: list[Event] | None, info: files.AudioInfo, rules: Rules) -> list[Part]:
    """The recording as it is, or by channels where a label is of one."""
    name, seconds = str(place), info.seconds
    if events is None:
        return [Part(name, None, False, [], Timeline(seconds, (), ((0.0, seconds),)))]
    inside = [replace(event, end=min(event.end, seconds)) for event in events if event.start < seconds]
    split = info.channels > 1 and any(event.channel for event in events)
    found = []
    for channel in range(1, info.channels + 1) if split else [None]:
        its = [event for event in events if None in (channel, event.channel) or event.channel == channel]
        found.append(Part(name, channel, True, its, Timeline.from_events(inside, seconds, rules, name, channel)))
    return found


def _labels(counted: list[tuple[Event, str]], rules: Rules) -> list[Label]:
    """By how often they are given; what overlaps within a recording's channel counts once."""
    by_label: dict[str, list[tuple[Event, str]]] = {}
    for event, place in counted:
        by_label.setdefault(event.label, []).append((event, place))
    found = []
    for label, its in by_label.items():
        spans: dict[tuple[str, int | None], list[Event]] = {}
        for event, place in its:
            spans.setdefault((place, event.channel), []).append(event)
        covered = [Timeline.from_events(one, float("inf"), Rules(guard=0.0)).signal for one in spans.values()]
        found.append(Label(label, len(its), sum(map(_length, covered)), rules.state(its[0][0])))
    return sorted(found, key=lambda label: (-label.events, label.label))


def _faults(place: Path, events: list[Event], info: files.AudioInfo) -> list[str]:
    """What training refuses."""
    name, found = _printable(str(place)), []
    late = [event.end for event in events if event.end > info.seconds + TOLERANCE]
    if late:
        found.append(
            f"{name}: {len(late)} labels pass its end at {info.seconds:.3f} s, the last ends at {max(late):.3f} s; "
            "training refuses that, for they may be of another recording"
        )
    highest = max((event.channel or 1 for event in events), default=1)
    if highest > info.channels:
        found.append(f"{name}: a label is of channel {highest} and it has {info.channels}; training refuses that")
    return found


def _signs(parts: list[Part]) -> list[str]:
    """What is not refused, and may not be meant."""
    told = [part for part in parts if part.listed]
    unlisted = [part.title for part in parts if not part.listed]
    silent = [part.title for part in told if not part.timeline.noise]
    overlapping = [
        f"{part.title} ({count} of {len(part.events)})" for part in told if (count := _overlaps(part.events))
    ]
    found = []
    if unlisted:
        found.append(f"{_of(unlisted, parts)} not listed, so unknown, and never taken for noise: {_such(unlisted)}")
    if told and len(silent) == len(told):
        found.append(
            "there is no noise-only time; label more closely, lower --guard or --min-noise, or give --noise to training"
        )
    elif silent:
        found.append(f"{_of(silent, parts)} without noise-only time: {_such(silent)}")
    if told and not any(part.timeline.signal for part in told):
        found.append("no time has signal; training needs recordings that have some")
    if overlapping:
        found.append(f"events overlap others, and their time counts once: {_such(overlapping)}")
    return found


def _overlaps(events: list[Event]) -> int:
    """How many events begin before an earlier one of the same channel, or of all, has ended."""
    count, ends = 0, {}
    for event in sorted(events, key=lambda event: (event.start, event.end)):
        count += event.start < ends.get(event.channel, 0.0)
        ends[event.channel] = max(event.end, ends.get(event.channel, 0.0))
    return count


def _of(names: list[str], parts: list[Part]) -> str:
    return f"{len(names)} of {len(parts)} recordings {'is' if len(names) == 1 else 'are'}"


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _such(names: list[str]) -> str:
    more = f" and {len(names) - _SUCH} more" if len(names) > _SUCH else ""
    return ", ".join(names[:_SUCH]) + more


def _length(stretches: Sequence[tuple[float, float]]) -> float:
    return math.fsum(end - start for start, end in stretches)
