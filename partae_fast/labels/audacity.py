"""Read Audacity label tracks, plain and extended, including those that BirdNET writes."""

import itertools
import operator
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..audio.files import PathLike
from ..errors import UserError
from . import text
from .event import Event, Row, Table

_CONFIDENCE = re.compile(r"\t[01]\.[0-9]+$")  # BirdNET appends it to a label; Audacity's labels have no tab
_CHUNK = 1 << 16  # characters of lines that are converted at a time: they stay in the processor's cache
_BOUNDARY = re.compile(r"\n(?![\s\\])")  # a line end that is not followed by the frequencies of the line


class _Lines(NamedTuple):
    """The number and the text of a time line, "" if it is missing, and of the frequency line under it, or None."""

    number: int
    times: str
    frequency_number: int | None = None
    frequencies: str | None = None


def read_audacity(path: PathLike) -> list[Event]:
    r"""Return the events of an Audacity label track, in the order of the file.

    A plain track has a line `start<TAB>end<TAB>label` for each event, with times in seconds. In an extended track a
    line `\<TAB>low<TAB>high` in Hz may follow, with -1 for an unknown frequency. An empty file has no events.

    Raises UserError if the file cannot be read, or, with the line number, if a line has neither form.
    """
    return [row.event for row in read(path).rows if row.event is not None]


def read(path: PathLike, content: str | None = None) -> Table:
    """Return the table of an Audacity label track; raise the errors of `read_audacity`.

    A track with a label that ends in a confidence was written by BirdNET; its format is "birdnet".

    content: the text of the file, if it has been read.
    """
    content = text.read_text(path) if content is None else content
    # str.splitlines would also split at characters that labels may have.
    content = content.replace("\r\n", "\n").replace("\r", "\n") if "\r" in content else content
    events: list[Event] = []
    from_birdnet, start, number = False, 0, 1
    while start < len(content):
        boundary = _BOUNDARY.search(content, start + _CHUNK)
        stop = boundary.end() if boundary else len(content)
        lines = content[start:stop]
        try:
            new_events, confident = _events_by_column(lines)
        except (ValueError, UserError):  # an unusual line, or a wrong one
            entries = [*_lines(lines, number)]
            new_events = [_event(entry, path) for entry in entries]
            labels = (entry.times.split("\t", 2)[2:] for entry in entries)
            confident = any(label and _CONFIDENCE.search(label[0]) for label in labels)
        from_birdnet |= confident
        events += new_events
        start, number = stop, number + lines.count("\n")
    rows = map(tuple.__new__, itertools.repeat(Row), zip(events, *[itertools.repeat(None)] * 2, strict=False))
    return Table("birdnet" if from_birdnet else "audacity", [*rows])


def _lines(content: str, first: int) -> Iterator[_Lines]:
    """Yield the lines of each event; `first` is the number of the first line."""
    pending: _Lines | None = None
    for number, line in enumerate(content.split("\n"), start=first):
        if line.startswith("\\"):
            yield (pending or _Lines(number, ""))._replace(frequency_number=number, frequencies=line)
            pending = None
        elif line and not line.isspace():
            if pending:
                yield pending
            pending = _Lines(number, line)
    if pending:
        yield pending


def _events_by_column(lines: str) -> tuple[list[Event], bool]:
    """Return what `_event` returns for each event in some lines, and whether a label has a confidence.

    Raises ValueError or UserError if they need `_event`.
    """
    low = high = itertools.repeat(None)
    if "\n\\" in lines:
        lines, low, high = _without_frequencies(lines)
    columns = text.split_columns(lines, "\t\t\n") or text.split_columns(lines, "\t\t\t\n")
    if columns is None:
        raise ValueError
    starts, ends, fields = text.floats(columns[0]), text.floats(columns[1]), columns[2]
    if starts is None or ends is None or not all(map(operator.le, starts, ends)):
        raise ValueError
    confident = len(columns) == 4
    if confident and not all(_CONFIDENCE.fullmatch("\t" + field) for field in {*columns[3]}):
        raise ValueError
    names = {field: field.strip() for field in {*fields}}
    values = zip(starts, ends, map(names.__getitem__, fields), low, high, itertools.repeat(None), strict=False)
    return [*map(tuple.__new__, itertools.repeat(Event), values)], confident


def _without_frequencies(content: str) -> tuple[str, list[float | None], list[float | None]]:
    """Return the time lines of some lines, and the lower and the higher frequency of each event, None without them.

    Raises ValueError or UserError if they need `_event`.
    """
    lines = content.split("\n")
    numbers = [number for number, line in enumerate(lines) if line.startswith("\\")]
    events = [number - count - 1 for count, number in enumerate(numbers)]  # of the time line above each
    columns = text.split_columns("\n".join(map(lines.__getitem__, numbers)), "\t\t\n")
    if events[0] < 0 or len({*events}) < len(events) or columns is None or {*columns[0]} != {"\\"}:
        raise ValueError
    times = [line for line in lines if not line.startswith("\\")]
    low: list[float | None] = [None] * len(times)
    high = low.copy()
    pairs = zip(events, *map(_frequencies_by_column, columns[1:]), strict=True)
    for event, low[event], high[event] in pairs:
        text.require_low_first(low[event], high[event], "")
    return "\n".join(times), low, high


def _frequencies_by_column(fields: Sequence[str]) -> Sequence[float | None]:
    """Return frequencies in Hz, None for negative ones; raise UserError if a field is no number."""
    numbers = text.floats(fields)
    if numbers is not None:
        return numbers
    values = {field: text.number(field, "", "") for field in {*fields}}
    return [values[field] if values[field] >= 0 else None for field in fields]


def _event(entry: _Lines, path: PathLike) -> Event:
    """Return one event; raise UserError, with the line number, if a line is malformed."""
    if not entry.times:
        raise UserError(f"{path}, line {entry.number}: a frequency line must follow a time line; remove it")
    location = f"{path}, line {entry.number}"
    fields = entry.times.split("\t", 2)
    start, end = _numbers(fields[:2], "a time", "start<TAB>end<TAB>label, in seconds", location)
    text.require_order(start, end, location)
    low = high = None
    if entry.frequencies is not None:
        low, high = _frequencies(entry.frequencies, f"{path}, line {entry.frequency_number}")
    return Event(start, end, _CONFIDENCE.sub("", fields[2]).strip() if len(fields) > 2 else "", low, high)


def _frequencies(line: str, location: str) -> tuple[float | None, float | None]:
    low, high = _numbers(line.rstrip().split("\t")[1:], "a frequency", "\\<TAB>low<TAB>high, in Hz", location)
    frequencies = (low if low >= 0 else None, high if high >= 0 else None)
    text.require_low_first(*frequencies, location)
    return frequencies


def _numbers(fields: Sequence[str], quantity: str, form: str, location: str) -> tuple[float, float]:
    if len(fields) != 2 or not all(map(text.is_number, fields)):
        raise UserError(f"{location}: the line has {' '.join(fields).strip()[:40]!r}; it must have the form {form}")
    first, second = (text.number(field, quantity, location) for field in fields)
    return first, second
