"""Read tables with a header line: CSV, Raven's selection tables and BirdNET's results."""

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from ..audio.files import PathLike
from ..audio.folders import SUFFIXES
from ..errors import UserError
from . import columns, text
from .event import Event, Row, Table

logger = logging.getLogger("partae_fast")

SEPARATORS = "\t;,"
_NO_CALL = "nocall"  # BirdNET's label for a recording without detections
_BLANK = ("", "nan", "na", "none", "null")


@dataclass(frozen=True)
class _Grid:
    """The fields of a table, as text, with the index of each role's column and the number of each line."""

    layout: columns.Layout
    header: list[str]
    columns: dict[str, int]
    lines: list[tuple[int, list[str]]]
    separator: str


def detect_dialect(content: str) -> str | None:
    """Return the dialect that the header of a text shows, "raven", "birdnet" or "csv", or None."""
    grid = _parse(content, first_only=True)
    return None if grid is None else grid.layout.dialect


def read(path: PathLike, dialect: str) -> Table:
    """Return the rows of a table in the dialect "csv", "raven" or "birdnet".

    `columns.LAYOUTS` lists the names of the columns, which may be in any case and order. The separator is a tab, a
    semicolon or a comma. A row with a recording and no times marks the recording as reviewed and free of events.

    Raven: the views of a selection are one event, and a start within the file has priority over a start within the
    sequence of files. BirdNET: frequencies and channel are ignored, because the frequencies are the range of the
    analysis and the channel is always 1.

    Raises UserError if a required column is missing, if the column of recordings has another name, and, with the line
    number, if a row cannot be read.
    """
    content = text.read_text(path)
    grid = _parse(content, dialect)
    if grid is None:
        if not content.strip():
            return Table(dialect, [])
        raise UserError(f"{path}, {_missing(content, dialect)[0]}")
    if dialect == "raven" and "label" not in grid.columns:
        label_column = columns.user_label_column(grid.header, grid.columns, [fields for _, fields in grid.lines])
        if label_column is not None:
            grid.columns["label"] = label_column
    ignored = [
        name.strip() for index, name in enumerate(grid.header) if index not in grid.columns.values() and name.strip()
    ]
    if dialect == "csv" and ignored:
        logger.info("%s: ignored columns: %s", path, ", ".join(ignored))
    if "file" not in grid.columns:
        _require_no_recordings(path, grid)
    rows: dict[tuple, Row] = {}
    for number, fields in grid.lines:
        row = _row(grid, fields, dialect, f"{path}, line {number}")
        key = (number,) if dialect == "csv" else _selection_key(grid, fields, row, number)
        rows[key] = _with_frequencies(rows.get(key), row)
    table = Table(dialect, list(rows.values()))
    recordings = {row.recording for row in table.rows if row.event}
    if dialect == "raven" and len(recordings) > 1 and "offset" not in grid.columns:
        raise UserError(
            f"{path}: the column 'File Offset (s)' is missing, and the times of {len(recordings)} recordings are "
            "counted from the start of the first; save the table with Raven's measurement File Offset (s)"
        )
    return table


def missing(content: str) -> str | None:
    """Return a message with the columns that a text lacks as a table, or None if it has no column of any layout."""
    message, matching_columns = _missing(content, None)
    return message if matching_columns else None


def _missing(content: str, dialect: str | None) -> tuple[str, int]:
    """Return a message that begins with the line, and the number of columns that match the nearest layout."""
    headers = [lines[0] for separator in SEPARATORS if (lines := _lines(content, separator, True))]
    number, header = max(
        headers, key=lambda line: (columns.nearest(line[1], dialect)[1], len(line[1])), default=(1, [content])
    )
    layout, matching_columns = columns.nearest(header, dialect)
    names = [repr(name) for name in layout.missing(header)]
    if not names:
        return f"line {number}: a field below is too long, or a double quote is not closed; correct it", 0
    subject = f"column {names[0]} is" if len(names) == 1 else f"columns {', '.join(names)} are"
    present = ", ".join(name.strip() for name in header if name.strip())
    return (
        f"line {number}: the {subject} missing; the line has {present[:200]!r}; {layout.program} must have "
        f"{', '.join(layout.required.values())}",
        matching_columns,
    )


def _parse(content: str, dialect: str | None = None, first_only: bool = False) -> _Grid | None:
    """Parse a table with the separator that gives the most columns; return None if no layout is complete."""
    best = None
    for separator in SEPARATORS:
        lines = _lines(content, separator, first_only)
        layout = columns.layout_of(lines[0][1], dialect) if lines else None
        if layout is not None:
            layout_columns = layout.columns(lines[0][1])
            if best is None or len(layout_columns) > len(best.columns):
                best = _Grid(layout, lines[0][1], layout_columns, lines[1:], separator)
    return best


def _require_no_recordings(path: PathLike, grid: _Grid) -> None:
    """Raise UserError if an ignored column names recordings, because all rows would count for one recording."""
    for number, fields in grid.lines:
        for index, field in enumerate(fields[: len(grid.header)]):
            if index not in grid.columns.values() and PurePath(field.strip()).suffix.lower() in SUFFIXES:
                accepted = grid.layout.optional["file"][0]
                raise UserError(
                    f"{path}, line {number}: the column {grid.header[index].strip()!r} has {field.strip()[:60]!r}; the "
                    f"column of recordings must be named {accepted!r}: rename it"
                )


def _lines(content: str, separator: str, first_only: bool) -> list[tuple[int, list[str]]]:
    """Return the number and the fields of each line that is not blank, or no lines if quotes do not match."""
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=separator)
    lines: list[tuple[int, list[str]]] = []
    try:
        for fields in reader:
            separator_line = not lines and fields and fields[0].lower().startswith("sep=")  # Excel writes it
            if any(field.strip() for field in fields) and not separator_line:
                lines.append((reader.line_num, fields))
                if first_only:
                    break
    except csv.Error:
        return []
    return lines


def _row(grid: _Grid, fields: Sequence[str], dialect: str, location: str) -> Row:
    fields = _aligned(grid, fields, location)

    def field(role: str) -> str:
        index = grid.columns.get(role)
        value = fields[index].strip() if index is not None and index < len(fields) else ""
        return "" if value.lower() in _BLANK and role != "label" else value

    recording = _joined(field("root"), field("folder"), field("file")) or None
    label = field("label")
    has_times = any(field(role) for role in ("start", "end", "duration"))
    if recording and (not has_times or (dialect == "birdnet" and label.lower() == _NO_CALL)):
        return Row(None, recording)
    start, end = _times(field, location)
    low, high = (_frequency(field(role), location) for role in ("low", "high"))
    text.require_low_first(low, high, location)
    channel = _channel(field("channel"), location)
    if dialect == "birdnet":
        low = high = channel = None
    return Row(Event(start, end, label, low, high, channel), recording, field("last") or None)


def _aligned(grid: _Grid, fields: Sequence[str], location: str) -> list[str]:
    """Return the fields, aligned with the header.

    BirdNET writes paths in its last column without quotes, so a path with separators is joined again.
    """
    width = len(grid.header)
    if len(fields) > width and grid.columns.get("file") == width - 1:
        return [*fields[: width - 1], grid.separator.join(fields[width - 1 :])]
    if any(field.strip() for field in fields[width:]):
        raise UserError(
            f"{location}: {len(fields)} fields under {width} columns; put fields that contain {grid.separator!r} in "
            "double quotes"
        )
    return list(fields)


def _joined(*parts: str) -> str:
    """Return the path of the parts that are not empty."""
    return "/".join(part.rstrip("/\\") for part in parts if part)


def _times(field: Callable[[str], str], location: str) -> tuple[float, float]:
    """Return the start and end of a row within its recording, in seconds."""
    start = text.seconds(field("start"), "the start time in seconds", location)
    if field("end"):
        end = text.seconds(field("end"), "the end time in seconds", location)
    else:
        end = start + text.seconds(field("duration"), "the end time or duration in seconds", location)
    text.require_order(start, end, location)
    if field("offset"):
        offset = text.seconds(field("offset"), "the file offset in seconds", location)
        start, end = offset, offset + (end - start)
        text.require_order(start, end, location)
    return start, end


def _frequency(value: str, location: str) -> float | None:
    """Return a frequency in Hz, or None if it is blank or negative; some programs write -1 for unknown."""
    if not value:
        return None
    frequency = text.number(value, "a frequency in Hz", location)
    return frequency if frequency >= 0 else None


def _channel(value: str, location: str) -> int | None:
    if not value:
        return None
    channel = text.number(value, "the channel", location)
    if channel != round(channel) or not 1 <= channel <= 1024:
        raise UserError(f"{location}: the channel is {value[:20]}; it must be a whole number from 1 to 1024")
    return round(channel)


def _selection_key(grid: _Grid, fields: Sequence[str], row: Row, number: int) -> tuple:
    """Return a key that is equal for all views of a selection in Raven."""
    index = grid.columns.get("selection")
    name = fields[index].strip() if index is not None and index < len(fields) else ""
    if not name or row.event is None or "view" not in grid.columns:
        return (number,)
    return name, row.recording, row.event.start, row.event.end, row.event.channel


def _with_frequencies(previous: Row | None, row: Row) -> Row:
    """Return the view of a selection that has frequencies; a waveform view has none."""
    if previous is None or previous.event is None or previous.event.low is None:
        return row
    return previous
