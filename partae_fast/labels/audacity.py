"""Audacity label tracks, plain and extended, those that BirdNET writes among them."""

import re
from collections.abc import Sequence
from dataclasses import replace

from ..audio.files import PathLike
from ..errors import UserError
from . import text
from .event import Event, Row, Table

_CONFIDENCE = re.compile(r"\t[01]\.[0-9]+$")  # BirdNET adds it behind the label; Audacity's have no tab


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
        where = f"{path}, line {number}"
        if not line.startswith("\\"):
            events.append(_event(line, where))
        elif bounded:
            raise UserError(f"{where}: a frequency line must follow a time line; remove it")
        else:
            low, high = _frequencies(line, where)
            events[-1] = replace(events[-1], low=low, high=high)
        bounded = line.startswith("\\")
    return events


def read(path: PathLike) -> Table:
    """The table of an Audacity label track; raises as `read_audacity` does."""
    return Table("audacity", [Row(event) for event in read_audacity(path)])


def _lines(path: PathLike) -> list[str]:
    # Not splitlines: labels may have characters at which it would cut.
    return re.split("\r\n|\r|\n", text.text_of(path))


def _event(line: str, where: str) -> Event:
    fields = _CONFIDENCE.sub("", line).split("\t", 2)
    start, end = _numbers(fields[:2], "a time", "start<TAB>end<TAB>label, in seconds", where)
    text.require_order(start, end, where)
    return Event(start, end, fields[2].strip() if len(fields) > 2 else "")


def _frequencies(line: str, where: str) -> tuple[float | None, float | None]:
    low, high = _numbers(line.rstrip().split("\t")[1:], "a frequency", "\\<TAB>low<TAB>high, in Hz", where)
    known = (low if low >= 0 else None, high if high >= 0 else None)
    text.require_low_first(*known, where)
    return known


def _numbers(fields: Sequence[str], what: str, form: str, where: str) -> tuple[float, float]:
    if len(fields) != 2 or not all(map(text.is_number, fields)):
        raise UserError(f"{where}: {' '.join(fields).strip()[:40]!r} found; the line must be {form}")
    first, second = (text.number(field, what, where) for field in fields)
    return first, second
