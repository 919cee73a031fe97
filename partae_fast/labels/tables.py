"""Tables with a header line: CSV of any make, Raven's selection tables, BirdNET's results."""

import csv
import io
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..audio.files import PathLike
from ..audio.folders import SUFFIXES
from ..errors import UserError
from . import columns, text
from .event import Event, Row, Table

logger = logging.getLogger("partae_fast")

SEPARATORS = "\t;,"
_NONE = "nocall"  # BirdNET's label of a recording in which it found nothing
_BLANK = ("", "nan", "na", "none", "null")


@dataclass(frozen=True)
class _Grid:
    """The fields of a table, as text."""

    layout: columns.Layout
    header: list[str]
    has: dict[str, int]  # the index of the column for each role
    lines: list[tuple[int, list[str]]]  # with their numbers in the file
    separator: str


def recognised(content: str) -> str | None:
    """Return "raven", "birdnet" or "csv", by the header of a label file's text; None where it is none of them."""
    grid = _grid(content, first_only=True)
    return None if grid is None else grid.layout.dialect


def read(path: PathLike, dialect: str) -> Table:
    """Return the rows of a table; `dialect` is "csv", "raven" or "birdnet".

    Columns have the names that `columns.LAYOUTS` lists, in any case and order. The separator is a tab, semicolon or
    comma. A row with a recording and no times says that it was reviewed and nothing found.

    Raven: views of one selection count once; a start in the file is preferred to a start in the sequence of files.
    BirdNET: its frequencies are the range that it listens to, not the call's, and its channel is always 1: both are
    left out.

    Raises UserError where a required column is missing, where the column of recordings has another name, and, with the
    line's number, for a row that cannot be read.
    """
    content = text.text_of(path)
    grid = _grid(content, dialect)
    if grid is None:
        if not content.strip():
            return Table(dialect, [])
        raise UserError(f"{path}, {_missing(content, dialect)[0]}")
    if dialect == "raven" and "label" not in grid.has:
        own = columns.own_label(grid.header, grid.has, [fields for _, fields in grid.lines])
        grid.has.update({} if own is None else {"label": own})
    others = [name.strip() for index, name in enumerate(grid.header) if index not in grid.has.values() and name.strip()]
    if dialect == "csv" and others:
        logger.info("%s: columns that are not read: %s", path, ", ".join(others))
    if "file" not in grid.has:
        _require_no_recordings(path, grid)
    rows: dict[tuple, Row] = {}
    for number, fields in grid.lines:
        where = f"{path}, line {number}"
        row = _row(grid, fields, dialect, where)
        key = (number,) if dialect == "csv" else _selection(grid, fields, row, number)
        rows[key] = _with_frequencies(rows.get(key), row)
    table = Table(dialect, list(rows.values()))
    recordings = {row.recording for row in table.rows if row.event}
    if dialect == "raven" and len(recordings) > 1 and "offset" not in grid.has:
        raise UserError(
            f"{path}: the column 'File Offset (s)' is missing, and times run on from file to file in a table of "
            f"{len(recordings)} recordings; save it with Raven's measurement File Offset (s)"
        )
    return table


def missing(content: str) -> str | None:
    """Return which columns the table that a text looks like lacks; None where no column of any table is there."""
    message, known = _missing(content, None)
    return message if known else None


def _missing(content: str, dialect: str | None) -> tuple[str, int]:
    """Return a message that begins with the line, and how many columns of the nearest layout are there."""
    headers = [lines[0] for separator in SEPARATORS if (lines := _lines(content, separator, True))]
    number, header = max(
        headers, key=lambda line: (columns.nearest(line[1], dialect)[1], len(line[1])), default=(1, [content])
    )
    layout, known = columns.nearest(header, dialect)
    names = [repr(name) for name in layout.missing(header)]
    if not names:
        return f"line {number}: a field below is too long, or a double quote is not closed; correct it", 0
    lacking = f"column {names[0]} is" if len(names) == 1 else f"columns {', '.join(names)} are"
    seen = ", ".join(name.strip() for name in header if name.strip())
    return (
        f"line {number}: the {lacking} missing; found {seen[:200]!r}; {layout.program} must have "
        f"{', '.join(layout.required.values())}",
        known,
    )


def _grid(content: str, dialect: str | None = None, first_only: bool = False) -> _Grid | None:
    """Return the table as read with the separator that shows most columns; None where none shows all of a layout."""
    best = None
    for separator in SEPARATORS:
        lines = _lines(content, separator, first_only)
        layout = columns.layout_of(lines[0][1], dialect) if lines else None
        if layout is not None:
            has = layout.columns(lines[0][1])
            if best is None or len(has) > len(best.has):
                best = _Grid(layout, lines[0][1], has, lines[1:], separator)
    return best


def _require_no_recordings(path: PathLike, grid: _Grid) -> None:
    """Raise UserError where a column that is not read names recordings: their rows would be taken for one's."""
    for number, fields in grid.lines:
        for index, field in enumerate(fields[: len(grid.header)]):
            if index not in grid.has.values() and PurePath(field.strip()).suffix.lower() in SUFFIXES:
                accepted = grid.layout.optional["file"][0]
                raise UserError(
                    f"{path}, line {number}: {field.strip()[:60]!r} in the column {grid.header[index].strip()!r}; name "
                    f"the column of recordings {accepted!r}"
                )


def _lines(content: str, separator: str, first_only: bool) -> list[tuple[int, list[str]]]:
    """The lines that are not blank, each with its number, cut into fields; none where quotes do not fit."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    found: list[tuple[int, list[str]]] = []
    try:
        for fields in reader:
            # Excel's own first line, which says what the separator is.
            if any(field.strip() for field in fields) and not (not found and fields[0].lower().startswith("sep=")):
                found.append((reader.line_num, fields))
                if first_only:
                    break
    except csv.Error:
        return []
    return found


def _row(grid: _Grid, fields: Sequence[str], dialect: str, where: str) -> Row:
    fields = _fitted(grid, fields, where)

    def field(role: str) -> str:
        index = grid.has.get(role)
        value = fields[index].strip() if index is not None and index < len(fields) else ""
        return "" if value.lower() in _BLANK and role != "label" else value

    recording = _joined(field("root"), field("folder"), field("file")) or None
    label = field("label")
    nothing = not any(field(role) for role in ("start", "end", "duration"))
    if recording and (nothing or (dialect == "birdnet" and label.lower() == _NONE)):
        return Row(None, recording)
    start, end = _times(field, where)
    low, high = (_frequency(field(role), where) for role in ("low", "high"))
    text.require_low_first(low, high, where)
    channel = _channel(field("channel"), where)
    if dialect == "birdnet":
        low = high = channel = None
    return Row(Event(start, end, label, low, high, channel), recording, field("last") or None)


def _fitted(grid: _Grid, fields: Sequence[str], where: str) -> list[str]:
    """The fields, a last one that has the separator in it made whole, as BirdNET writes paths without quotes."""
    extra = len(fields) - len(grid.header)
    if extra > 0 and grid.has.get("file") == len(grid.header) - 1:
        return [*fields[: len(grid.header) - 1], grid.separator.join(fields[len(grid.header) - 1 :])]
    if extra > 0 and any(field.strip() for field in fields[len(grid.header) :]):
        raise UserError(
            f"{where}: {len(fields)} fields under {len(grid.header)} columns; put fields with "
            f"{grid.separator!r} in them into double quotes"
        )
    return list(fields)


def _joined(*parts: str) -> str:
    """A path of the parts that are there."""
    return "/".join(part.rstrip("/\\") for part in parts if part)


def _times(field, where: str) -> tuple[float, float]:
    """Start and end in the recording, in seconds."""
    start = text.seconds(field("start"), "the start, in seconds,", where)
    if field("end"):
        end = text.seconds(field("end"), "the end, in seconds,", where)
    else:
        end = start + text.seconds(field("duration"), "the end, or the duration, in seconds,", where)
    text.require_order(start, end, where)
    if field("offset"):
        offset = text.seconds(field("offset"), "the file offset, in seconds,", where)
        start, end = offset, offset + (end - start)
        text.require_order(start, end, where)
    return start, end


def _frequency(value: str, where: str) -> float | None:
    """In Hz; None where it is not known, which some write as -1."""
    if not value:
        return None
    frequency = text.number(value, "a frequency, in Hz,", where)
    return frequency if frequency >= 0 else None


def _channel(value: str, where: str) -> int | None:
    if not value:
        return None
    channel = text.number(value, "the channel", where)
    if channel != round(channel) or not 1 <= channel <= 1024:
        raise UserError(f"{where}: channel {value[:20]} found; channels are whole numbers from 1")
    return round(channel)


def _selection(grid: _Grid, fields: Sequence[str], row: Row, number: int) -> tuple:
    """What the views of one selection have in common."""
    index = grid.has.get("selection")
    name = fields[index].strip() if index is not None and index < len(fields) else ""
    if not name or row.event is None or "view" not in grid.has:
        return (number,)
    return name, row.recording, row.event.start, row.event.end, row.event.channel


def _with_frequencies(earlier: Row | None, row: Row) -> Row:
    """Of two views of a selection, the one that knows frequencies: a waveform has none."""
    if earlier is None or earlier.event is None or earlier.event.low is None:
        return row
    return earlier
