"""Summarise label files: the time in each state, the labels, and likely mistakes."""

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
from .matching import Recording, match_recordings
from .timeline import TOLERANCE, Rules, Timeline

_NAMES_SHOWN = 3  # names in a warning


@dataclass(frozen=True)
class RecordingSummary:
    """Events and timeline of a recording, or of one channel if its labels have channels.

    A recording that is not listed is unknown throughout.
    """

    name: str
    channel: int | None
    listed: bool
    events: list[Event]
    timeline: Timeline

    @property
    def title(self) -> str:
        """Printable name, with the channel; bytes of a file name that are not text are escaped."""
        name = _printable(self.name)
        return name if self.channel is None else f"{name}, channel {self.channel}"

    def stretches(self) -> dict[str, tuple[tuple[float, float], ...]]:
        """Return the stretches in each state, as (start, end) in seconds."""
        timeline = self.timeline
        return {"signal": timeline.signal, "noise-only": timeline.noise, "unknown": timeline.unknown}

    def seconds(self) -> dict[str, float]:
        """Return the seconds in each state."""
        return {state: _total_length(stretches) for state, stretches in self.stretches().items()}


@dataclass(frozen=True)
class LabelCount:
    """Number of events with a label, their total duration (None if unknown), and the state that they count as."""

    label: str
    events: int
    seconds: float | None
    counts_as: str


@dataclass(frozen=True)
class LabelSummary:
    """Result of `summarise`; each warning is one line."""

    recordings: list[RecordingSummary] = field(default_factory=list)
    labels: list[LabelCount] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the summary as JSON-compatible values, with seconds rounded to microseconds."""
        return {
            "recordings": [
                {
                    "name": recording.name,
                    "channel": recording.channel,
                    "listed": recording.listed,
                    "events": len(recording.events),
                    "duration": round(recording.timeline.seconds, 6),
                    "seconds": {state: round(seconds, 6) for state, seconds in recording.seconds().items()},
                    "stretches": {
                        state: [[round(edge, 6) for edge in stretch] for stretch in stretches]
                        for state, stretches in recording.stretches().items()
                    },
                }
                for recording in self.recordings
            ],
            "labels": [vars(label) for label in self.labels],
            "warnings": self.warnings,
        }


def summarise(
    label_files: Sequence[PathLike],
    recordings: Sequence[PathLike],
    rules: Rules | None = None,
) -> LabelSummary:
    """Summarise label files and the recordings that they list; only the headers of recordings are read.

    A recording that cannot be read is left out, with a warning. Without recordings, only the labels are summarised.

    Raises the errors of `match_recordings`, and UserError if no event has a label of the rules.
    """
    rules, warnings = rules or Rules(), []
    headers: dict[Path, files.AudioInfo] = {}
    for recording in recordings:
        try:
            headers[Path(recording)] = files.info(recording)
        except UserError as error:
            warnings.append(f"{_printable(str(error))}; left out")
    if not headers:
        return _summarise_labels(label_files, rules, warnings)
    events: dict[Path, list[Event]] = {}
    candidates = [Recording(str(path), header.seconds, header.rate) for path, header in headers.items()]
    for label_file in label_files:
        for path, new_events in match_recordings(label_file, candidates, rules.label_format).items():
            events.setdefault(path, []).extend(new_events)
    rules.require_labels_exist(event for recording_events in events.values() for event in recording_events)
    summaries = []
    for path, header in headers.items():
        warnings += _training_errors(path, events.get(path, []), header, rules)
        summaries += _by_channel(path, events.get(path), header, rules)
    named_events = [(event, str(path)) for path, recording_events in events.items() for event in recording_events]
    return LabelSummary(summaries, _count_labels(named_events, rules), warnings + _likely_mistakes(summaries))


def _summarise_labels(label_files: Sequence[PathLike], rules: Rules, warnings: list[str]) -> LabelSummary:
    """Summarise label files without recordings."""
    named_events, in_seconds = [], True
    for path in label_files:
        table = read_labels(path, rules.label_format)
        in_seconds &= not table.samples
        named_events += [(row.event, f"{path} {row.recording}") for row in table.rows if row.event]
    rules.require_labels_exist(event for event, _ in named_events)
    counts = _count_labels(named_events, rules)
    if not in_seconds:
        counts = [replace(count, seconds=None) for count in counts]
    warning = "there are no recordings, so the time in each state is unknown; name some with --recordings"
    return LabelSummary([], counts, [*warnings, warning])


def _by_channel(
    path: Path, events: list[Event] | None, header: files.AudioInfo, rules: Rules
) -> list[RecordingSummary]:
    """Return the summary of a recording, or of each channel if a label has a channel."""
    name, seconds = str(path), header.seconds
    if events is None:
        return [RecordingSummary(name, None, False, [], Timeline(seconds, (), ((0.0, seconds),)))]
    started = (event for event in events if event.start < seconds)
    inside = [event if event.end <= seconds else event._replace(end=seconds) for event in started]
    split = header.channels > 1 and any(event.channel for event in events)
    summaries = []
    for channel in range(1, header.channels + 1) if split else [None]:
        in_channel = [event for event in events if None in (channel, event.channel) or event.channel == channel]
        timeline = Timeline.from_events(inside, seconds, rules, name, channel)
        summaries.append(RecordingSummary(name, channel, True, in_channel, timeline))
    return summaries


def _count_labels(named_events: list[tuple[Event, str]], rules: Rules) -> list[LabelCount]:
    """Count the events, paired with their recordings' names, of each label, the most frequent label first.

    Time of events that overlap in a channel of a recording is counted once.
    """
    by_label: dict[str, list[tuple[Event, str]]] = {}
    for event, recording in named_events:
        by_label.setdefault(event.label, []).append((event, recording))
    counts = []
    for label, occurrences in by_label.items():
        by_channel: dict[tuple[str, int | None], list[Event]] = {}
        for event, recording in occurrences:
            by_channel.setdefault((recording, event.channel), []).append(event)
        no_guard = Rules(guard=0.0)
        covered = [Timeline.from_events(events, float("inf"), no_guard).signal for events in by_channel.values()]
        seconds = sum(map(_total_length, covered))
        counts.append(LabelCount(label, len(occurrences), seconds, rules.state(occurrences[0][0])))
    return sorted(counts, key=lambda count: (-count.events, count.label))


def _training_errors(path: Path, events: list[Event], header: files.AudioInfo, rules: Rules) -> list[str]:
    """Return a warning for each property of the labels that training refuses or corrects."""
    name, warnings = _printable(str(path)), []
    ends = [event.end for event in events if event.end > header.seconds + TOLERANCE]
    if ends:
        refused = max(ends) > header.seconds + rules.overrun
        warnings.append(
            f"{name}: {len(ends)} labels pass its end at {header.seconds:.3f} s, the last ends at {max(ends):.3f} s; "
            + (
                "training refuses them, because they may belong to another recording"
                if refused
                else "training cuts them there"
            )
        )
    highest = max((event.channel or 1 for event in events), default=1)
    if highest > header.channels:
        warnings.append(
            f"{name}: a label is in channel {highest}, but its last channel is {header.channels}; training refuses this"
        )
    return warnings


def _likely_mistakes(summaries: list[RecordingSummary]) -> list[str]:
    """Return a warning for each property of the labels that is allowed but probably a mistake."""
    listed = [summary for summary in summaries if summary.listed]
    unlisted = [summary.title for summary in summaries if not summary.listed]
    without_noise = [summary.title for summary in listed if not summary.timeline.noise]
    overlapping = [
        f"{summary.title} ({count} of {len(summary.events)})"
        for summary in listed
        if (count := _count_overlaps(summary.events))
    ]
    warnings = []
    if unlisted:
        warnings.append(
            f"{_share(unlisted, summaries)} not listed, so unknown and never used as noise: {_some(unlisted)}"
        )
    if listed and len(without_noise) == len(listed):
        warnings.append(
            "there is no noise-only time; label more closely, lower --guard or --min-noise, or pass --noise to training"
        )
    elif without_noise:
        warnings.append(f"{_share(without_noise, summaries)} without noise-only time: {_some(without_noise)}")
    if listed and not any(summary.timeline.signal for summary in listed):
        warnings.append("no time has signal; training needs recordings with signal")
    if overlapping:
        warnings.append(f"events overlap; their time is counted once: {_some(overlapping)}")
    return warnings


def _count_overlaps(events: list[Event]) -> int:
    """Return how many events start before an earlier event with the same `channel` has ended."""
    count, ends = 0, {}
    for event in sorted(events, key=lambda event: (event.start, event.end)):
        count += event.start < ends.get(event.channel, 0.0)
        ends[event.channel] = max(event.end, ends.get(event.channel, 0.0))
    return count


def _share(names: list[str], summaries: list[RecordingSummary]) -> str:
    return f"{len(names)} of {len(summaries)} recordings {'is' if len(names) == 1 else 'are'}"


def _printable(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _total_length(stretches: Sequence[tuple[float, float]]) -> float:
    return math.fsum(end - start for start, end in stretches)
