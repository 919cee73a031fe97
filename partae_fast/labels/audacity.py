"""Read Audacity label tracks, plain and extended, including those that BirdNET writes."""

import itertools
import operator
import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from ..audio.files import PathLike
from ..errors import UserError
from . import text
from .event import Event, Row, Table

_CONFIDENCE = re.compile(r"\t[01]\.[0-9]+$")  # BirdNET appends it to a label; Audacity's labels have no tab
_CHUNK = 1 << 15  # events


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
    events: list[Event] = []
    from_birdnet = False
    lines = _lines(content)
    while chunk := [*itertools.islice(lines, _CHUNK)]:
        try:
            new_events, confident = _events(chunk)
        except (ValueError, UserError):  # an unusual line, or a wrong one
            new_events = [_event(entry, path) for entry in chunk]
            labels = (entry.times.split("\t", 2)[2:] for entry in chunk)
            confident = any(label and _CONFIDENCE.search(label[0]) for label in labels)
        from_birdnet |= confident
        events += new_events
    format = "birdnet" if from_birdnet else "audacity"
    return Table(format, [*map(partial(tuple.__new__, Row), zip(events, *[itertools.repeat(None)] * 2, strict=False))])


def _lines(content: str) -> Iterator[_Lines]:
    """Yield the lines of each event."""
    # str.splitlines would also split at characters that labels may have.
    lines = content.replace("\r\n", "\n").replace("\r", "\n").split("\n") if "\r" in content else content.split("\n")
    pending: _Lines | None = None
    for number, line in enumerate(lines, start=1):
        if line.startswith("\\"):
            yield (pending or _Lines(number, ""))._replace(frequency_number=number, frequencies=line)
            pending = None
        elif line and not line.isspace():
            if pending:
                yield pending
            pending = _Lines(number, line)
    if pending:
        yield pending


def _events(chunk: Sequence[_Lines]) -> tuple[list[Event], bool]:
    """Return the events of a chunk as `_event` does, and whether a label has a confidence.

    Raises ValueError or UserError if they need `_event`.
    """
    starts, ends, labels = zip(*(entry.times.split("\t", 2) for entry in chunk), strict=True)
    starts, ends = text.floats(starts), text.floats(ends)
    if starts is None or ends is None or not all(map(operator.le, starts, ends)):
        raise ValueError
    names = {label: _CONFIDENCE.sub("", label).strip() for label in set(labels)}
    confident = any(_CONFIDENCE.search(label) for label in names)
    low, high = itertools.repeat(None), itertools.repeat(None)
    if any(entry.frequencies for entry in chunk):
        pairs = [(None, None) if e.frequencies is None else _frequencies(e.frequencies, "") for e in chunk]
        low, high = zip(*pairs, strict=True)
    values = zip(starts, ends, map(names.__getitem__, labels), low, high, itertools.repeat(None), strict=False)
    return [*map(partial(tuple.__new__, Event), values)], confident


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
