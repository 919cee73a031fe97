"""Read Audacity label tracks, plain and extended, including those that BirdNET writes."""

import re
from collections.abc import Sequence
from dataclasses import replace

from ..audio.files import PathLike
from ..errors import UserError
from . import text
from .event import Event, Row, Table

_CONFIDENCE = re.compile(r"\t[01]\.[0-9]+$")  # BirdNET appends it to a label; Audacity's labels have no tab


def read_audacity(path: PathLike) -> list[Event]:
    r"""Return the events of an Audacity label track, in the order of the file.

    A plain track has a line `start<TAB>end<TAB>label` for each event, with times in seconds. In an extended track a
    line `\<TAB>low<TAB>high` in Hz may follow, with -1 for an unknown frequency. An empty file has no events.

    Raises UserError if the file cannot be read, or, with the line number, if a line has neither form.
    """
    events: list[Event] = []
    frequencies_allowed = False  # true after a time line
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        location = f"{path}, line {number}"
        if not line.startswith("\\"):
            events.append(_event(line, location))
            frequencies_allowed = True
        elif frequencies_allowed:
            low, high = _frequencies(line, location)
            events[-1] = replace(events[-1], low=low, high=high)
            frequencies_allowed = False
        else:
            raise UserError(f"{location}: a frequency line must follow a time line; remove it")
    return events


def read(path: PathLike) -> Table:
    """Return the table of an Audacity label track; raise the errors of `read_audacity`."""
    return Table("audacity", [Row(event) for event in read_audacity(path)])


def _lines(path: PathLike) -> list[str]:
    # str.splitlines would also split at characters that labels may have.
    return re.split("\r\n|\r|\n", text.read_text(path))


def _event(line: str, location: str) -> Event:
    fields = _CONFIDENCE.sub("", line).split("\t", 2)
    start, end = _numbers(fields[:2], "a time", "start<TAB>end<TAB>label, in seconds", location)
    text.require_order(start, end, location)
    return Event(start, end, fields[2].strip() if len(fields) > 2 else "")


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
