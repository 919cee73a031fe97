"""Read tables with a header line: CSV, Raven's selection tables and BirdNET's results.

Rows are converted in chunks, column by column. A chunk in which a field is unusual or wrong is converted row by row.
The csv module, which takes three times as long as splitting, reads only what has quotes or rows of unequal length.
"""

import csv
import io
import itertools
import logging
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ..audio.files import PathLike
from ..audio.folders import SUFFIXES
from ..errors import UserError
from . import columns, text
from .event import Event, Row, Table

logger = logging.getLogger("partae_fast")

SEPARATORS = "\t;,"
_NO_CALL = "nocall"  # BirdNET's label for a recording without detections
_BLANK = ("", "nan", "na", "none", "null")
_HEAD = 1 << 18  # characters that the header line must be in
_CHUNK = 1 << 16  # characters of rows that are converted at a time: they stay in the processor's cache
_CHUNK_ROWS = 1 << 11  # rows that the csv module reads at a time
_LINE_END = re.compile("\r\n|\r|\n")
_RECORDING = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(SUFFIXES)))})[^\S\n]*$", re.IGNORECASE | re.MULTILINE)

T = TypeVar("T")
Fields = Sequence[str]


@dataclass(frozen=True)
class _Grid:
    """The header of a table and the index of each role's column."""

    layout: columns.Layout
    header: list[str]
    columns: dict[str, int]
    separator: str


@dataclass
class _Chunk:
    """Rows under the header, some of which may be blank.

    `numbers` are their lines. Either `columns` has the fields of each column, or `rows` those of each row.
    """

    numbers: Sequence[int]
    columns: Sequence[Fields] | None = None
    rows: Sequence[Fields] | None = None

    def by_row(self) -> Sequence[Fields]:
        return list(zip(*(self.columns or ()), strict=True)) if self.rows is None else self.rows

    def by_column(self) -> Sequence[Fields]:
        """Return the columns; raise ValueError if the rows have unequal lengths."""
        return list(zip(*(self.rows or ()), strict=True)) if self.columns is None else self.columns

    def column(self, index: int) -> Fields:
        """Return one column, with "" where a row is too short."""
        if self.columns is not None:
            return self.columns[index]
        return [fields[index] if index < len(fields) else "" for fields in self.rows or ()]


def detect_dialect(content: str) -> str | None:
    """Return the dialect that the header of a text shows, "raven", "birdnet" or "csv", or None."""
    grid = _grid(content)
    return None if grid is None else grid.layout.dialect


def read(path: PathLike, dialect: str, content: str | None = None) -> Table:
    """Return the rows of a table in the dialect "csv", "raven" or "birdnet".

    `columns.LAYOUTS` lists the names of the columns, which may be in any case and order. The separator is a tab, a
    semicolon or a comma. A row with a recording and no times marks the recording as reviewed and free of events.

    Raven: the views of a selection are one event, and a start within the file has priority over a start within the
    sequence of files. BirdNET: frequencies and channel are ignored, because the frequencies are the range of the
    analysis and the channel is always 1.

    Args:
        path: the table.
        dialect: its dialect.
        content: its text, if it has been read.

    Raises UserError if a required column is missing, if the column of recordings has another name, and, with the line
    number, if a row cannot be read.
    """
    content = text.read_text(path) if content is None else content
    grid = _grid(content, dialect)
    if grid is None:
        if not content.strip():
            return Table(dialect, [])
        raise UserError(f"{path}, {_missing(content, dialect)[0]}")
    if dialect == "raven" and "label" not in grid.columns:
        label_column = columns.user_label_column(grid.header, grid.columns, _chunks(path, grid, content))
        if label_column is not None:
            grid.columns["label"] = label_column
    ignored = [
        name.strip() for index, name in enumerate(grid.header) if index not in grid.columns.values() and name.strip()
    ]
    if dialect == "csv" and ignored:
        logger.info("%s: ignored columns: %s", path, ", ".join(ignored))
    rows, selections, views = [], [], set()
    for chunk in _chunks(path, grid, content):
        if "file" not in grid.columns:
            _require_no_recordings(path, grid, chunk)
        chunk_rows = _rows(path, grid, chunk)
        rows += chunk_rows
        if "selection" in grid.columns and "view" in grid.columns:
            views.update(chunk.column(grid.columns["view"]))
            selections += _selections(chunk, grid.columns["selection"], blank_rows=len(chunk_rows) < len(chunk.numbers))
    table = Table(dialect, _without_views(rows, selections) if len(views) > 1 else rows)
    if dialect == "raven" and "offset" not in grid.columns:
        recordings = {row.recording for row in table.rows if row.event}
        if len(recordings) > 1:
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
    headers = [header for separator in SEPARATORS if (header := _header(_reader(content[:_HEAD], separator)))]
    number, header = max(
        headers, key=lambda line: (columns.nearest(line[1], dialect)[1], len(line[1])), default=(1, [content[:_HEAD]])
    )
    layout, matching_columns = columns.nearest(header, dialect)
    names = [repr(name) for name in layout.missing(header)]
    subject = f"column {names[0]} is" if len(names) == 1 else f"columns {', '.join(names)} are"
    present = ", ".join(name.strip() for name in header if name.strip())
    return (
        f"line {number}: the {subject} missing; the line has {present[:200]!r}; {layout.program} must have "
        f"{', '.join(layout.required.values())}",
        matching_columns,
    )


def _grid(content: str, dialect: str | None = None) -> _Grid | None:
    """Return the grid with the separator that gives the most columns; None if no layout is complete."""
    best = None
    for separator in SEPARATORS:
        header = _header(_reader(content[:_HEAD], separator))
        layout = columns.layout_of(header[1], dialect) if header else None
        if header and layout is not None:
            layout_columns = layout.columns(header[1])
            if best is None or len(layout_columns) > len(best.columns):
                best = _Grid(layout, header[1], layout_columns, separator)
    return best


def _reader(content: str, separator: str) -> Any:
    """Return a CSV reader of a text, which keeps line ends in quoted fields."""
    # Not io.StringIO, which takes four bytes a character.
    stream = io.TextIOWrapper(io.BytesIO(content.encode("utf-8", "surrogatepass")), "utf-8", newline="")
    return csv.reader(stream, delimiter=separator)


def _header(reader: Any) -> tuple[int, list[str]] | None:
    """Read up to the header; return its line number and its fields, or None if there is none."""
    number = 1
    try:
        for fields in reader:
            separator_line = fields and fields[0].lower().startswith("sep=")  # Excel writes it
            if not separator_line and not _is_blank(fields):
                return number, fields
            number = reader.line_num + 1
    except csv.Error:
        pass
    return None


def _is_blank(fields: Fields) -> bool:
    return not "".join(fields).strip()


def _chunks(path: PathLike, grid: _Grid, content: str) -> Iterator[_Chunk]:
    """Yield the rows under the header in chunks.

    Raises UserError, with the line in which the row begins, if a double quote is not closed or a field is too long.
    """
    reader = _reader(content[:_HEAD], grid.separator)
    _header(reader)
    ends = itertools.islice(_LINE_END.finditer(content), reader.line_num)
    start, number = max((end.end() for end in ends), default=len(content)), reader.line_num + 1
    separators = grid.separator * (len(grid.header) - 1) + "\n"
    while start < len(content):
        stop = content.find("\n", start + _CHUNK) + 1 or len(content)
        lines = content[start:stop]
        if '"' in lines:  # a quoted field may have line ends
            yield from _csv_chunks(path, grid, content, start, len(content), number)
            return
        lines = lines.replace("\r\n", "\n")
        fields = None if "\r" in lines else text.split_columns(lines, separators)
        if fields is None or (len(lines) > csv.field_size_limit() and _has_long_field(fields)):
            yield from _csv_chunks(path, grid, content, start, stop, number)
        else:
            yield _Chunk(range(number, number + len(fields[0])), fields)
        number += len(_LINE_END.findall(lines)) if fields is None else len(fields[0])
        start = stop


def _has_long_field(columns: Sequence[Fields]) -> bool:
    return max(len(field) for column in columns for field in column) > csv.field_size_limit()


def _csv_chunks(path: PathLike, grid: _Grid, content: str, start: int, stop: int, number: int) -> Iterator[_Chunk]:
    """Yield the rows in a part of the content, whose first line has this number, as read by the csv module."""
    reader = _reader(content[start:stop], grid.separator)
    while True:
        first = number + reader.line_num
        try:
            rows = list(itertools.islice(reader, _CHUNK_ROWS))
        except csv.Error:
            raise UserError(
                f"{path}, line {_unreadable_line(content, grid.separator)}: a double quote is not closed, or a field "
                f"has more than {csv.field_size_limit()} characters; correct it"
            ) from None
        if not rows:
            return
        if number + reader.line_num - first == len(rows):
            yield _Chunk(range(first, first + len(rows)), rows=rows)
            continue
        heights = [1 + sum(len(_LINE_END.findall(field)) for field in fields) for fields in rows]
        numbers = [*itertools.accumulate(heights, initial=first)][:-1]
        _require_closed_quotes(path, grid, content, numbers, heights)
        yield _Chunk(numbers, rows=rows)


def _unreadable_line(content: str, separator: str) -> int:
    """Return the line in which the row begins that the CSV reader cannot read."""
    reader, number = _reader(content, separator), 1
    try:
        for _ in reader:
            number = reader.line_num + 1
    except csv.Error:
        pass
    return number


def _require_closed_quotes(
    path: PathLike, grid: _Grid, content: str, numbers: Sequence[int], heights: Sequence[int]
) -> None:
    """Raise UserError if a row of several lines is not well quoted, because it then contains the rows below it."""
    lines = _LINE_END.split(content)
    for number, height in zip(numbers, heights, strict=True):
        if height > 1:
            raw = [line + "\n" for line in lines[number - 1 : number - 1 + height]]
            try:
                list(csv.reader(raw, delimiter=grid.separator, strict=True))
            except csv.Error:
                raise UserError(
                    f"{path}, line {number}: a double quote is not closed, so the row runs on to line "
                    f"{number + height - 1}; close it"
                ) from None


def _require_no_recordings(path: PathLike, grid: _Grid, chunk: _Chunk) -> None:
    """Raise UserError if an ignored column names recordings, because all rows would count for one recording."""
    for index in set(range(len(grid.header))) - set(grid.columns.values()):
        column = chunk.column(index)
        if not _RECORDING.search("\n".join(column)):
            continue
        number, field = next(pair for pair in zip(chunk.numbers, column, strict=True) if _RECORDING.search(pair[1]))
        accepted = grid.layout.optional["file"][0]
        raise UserError(
            f"{path}, line {number}: the column {grid.header[index].strip()!r} has {field.strip()[:60]!r}; the "
            f"column of recordings must be named {accepted!r}: rename it"
        )


def _rows(path: PathLike, grid: _Grid, chunk: _Chunk) -> list[Row]:
    """Return the rows of a chunk."""
    try:
        return _rows_by_column(grid, chunk)
    except (ValueError, UserError):  # an unusual field, or a wrong one
        pairs = zip(chunk.numbers, chunk.by_row(), strict=True)
        return [_row(grid, fields, f"{path}, line {number}") for number, fields in pairs if not _is_blank(fields)]


def _rows_by_column(grid: _Grid, chunk: _Chunk) -> list[Row]:
    """Return what `_row` returns for each row of a chunk; raise ValueError or UserError if they need `_row`."""
    by_index, count = chunk.by_column(), len(chunk.numbers)
    if len(by_index) != len(grid.header):
        raise ValueError

    def fields(role: str) -> Fields | None:
        return by_index[grid.columns[role]] if role in grid.columns else None

    def converted(role: str, convert: Callable[[str], T]) -> Iterable[T | None]:
        column = fields(role)
        if column is None:
            return itertools.repeat(None, count)
        values = {field: convert(field.strip()) for field in set(column)}
        return map(values.__getitem__, column)

    starts, ends = _times_by_column(fields)
    low, high = (_frequencies(fields(role)) for role in ("low", "high"))
    _require_low_first(low, high)
    labels: Iterable[str | None] = converted("label", str) if "label" in grid.columns else [""] * count
    if "automatic_label" in grid.columns:
        labels = [a or b for a, b in zip(labels, converted("automatic_label", str), strict=True)]
    role, first = ("channel_from_0", 0) if "channel_from_0" in grid.columns else ("channel", 1)
    channels = converted(role, lambda field: _channel(_unless_blank(field), "", first))
    nothing = [None] * count
    is_birdnet = grid.layout.dialect == "birdnet"
    if is_birdnet:
        low = high = channels = nothing
    values = zip(starts, ends, labels, low or nothing, high or nothing, channels, strict=True)
    events: list[Event] = [*map(tuple.__new__, itertools.repeat(Event), values)]
    recordings = _recordings([fields(role) for role in ("root", "folder", "file")], count)
    last = converted("last", lambda field: _unless_blank(field) or None)
    rows: list[Row] = [*map(tuple.__new__, itertools.repeat(Row), zip(events, recordings, last, strict=True))]
    if is_birdnet:
        for index, event in enumerate(events):
            if event.label.lower() == _NO_CALL and recordings[index]:
                rows[index] = Row(None, recordings[index])
    return rows


def _recordings(columns: Sequence[Fields | None], count: int) -> list[str | None]:
    """Return the path of each of `count` rows, from its parts; None for a row without one."""
    present = [column for column in columns if column]
    if not present:
        return [None] * count
    keys = list(zip(*present, strict=True))
    paths = {parts: _joined(*(_unless_blank(part.strip()) for part in parts)) or None for parts in set(keys)}
    return [*map(paths.__getitem__, keys)]


def _require_low_first(low: list[float | None] | None, high: list[float | None] | None) -> None:
    """Raise ValueError if a lower frequency is above the higher one."""
    pairs = zip(low or (), high or (), strict=False)
    if not all(a is None or b is None or a <= b for a, b in pairs):
        raise ValueError


def _times_by_column(fields: Callable[[str], Fields | None]) -> tuple[list[float], list[float]]:
    """Return the starts and ends of rows, as `_times`; raise ValueError or UserError if they need `_times`."""

    def seconds(column: Fields | None) -> list[float]:
        if column is None:
            raise ValueError
        return text.floats(column) or [text.seconds(field, "", "") for field in column]

    starts = seconds(fields("start"))
    if fields("end"):
        ends = seconds(fields("end"))
    else:
        ends = [*map(operator.add, starts, seconds(fields("duration")))]
    _require_order(starts, ends)
    if fields("offset"):
        offsets = seconds(fields("offset"))
        starts, ends = offsets, [offset + (b - a) for offset, a, b in zip(offsets, starts, ends, strict=True)]
        _require_order(starts, ends)
    return starts, ends


def _require_order(starts: list[float], ends: list[float]) -> None:
    """Raise ValueError unless 0 <= start <= end for all rows."""
    if not (min(starts, default=0.0) >= 0 and all(map(operator.le, starts, ends))):
        raise ValueError


def _frequencies(column: Fields | None) -> list[float | None] | None:
    """Return the frequencies of a column, None for blank and negative ones; None without a column."""
    if column is None:
        return None
    if "" in column:
        values = {field: _frequency(_unless_blank(field.strip()), "") for field in set(column)}
        return [values[field] for field in column]
    return text.floats(column) or [_frequency(_unless_blank(field.strip()), "") for field in column]  # pyright: ignore[reportReturnType]


def _row(grid: _Grid, fields: Fields, location: str) -> Row:
    """Return one row; raise UserError, whose message begins with `location`, if it is malformed."""
    dialect, fields = grid.layout.dialect, _aligned(grid, fields, location)

    def field(role: str) -> str:
        index = grid.columns.get(role)
        value = fields[index].strip() if index is not None and index < len(fields) else ""
        return value if role in ("label", "automatic_label") else _unless_blank(value)

    recording = _joined(field("root"), field("folder"), field("file")) or None
    label = field("label") or field("automatic_label")
    has_times = any(field(role) for role in ("start", "end", "duration"))
    if recording and (not has_times or (dialect == "birdnet" and label.lower() == _NO_CALL)):
        return Row(None, recording)
    start, end = _times(field, location)
    low, high = (_frequency(field(role), location) for role in ("low", "high"))
    text.require_low_first(low, high, location)
    channel = _channel(field("channel"), location)
    if "channel_from_0" in grid.columns:
        channel = _channel(field("channel_from_0"), location, first=0)
    if dialect == "birdnet":
        low = high = channel = None
    return Row(Event(start, end, label, low, high, channel), recording, field("last") or None)


def _unless_blank(field: str) -> str:
    """Return a field, or "" if it stands for a missing value."""
    return "" if field.lower() in _BLANK else field


def _aligned(grid: _Grid, fields: Fields, location: str) -> list[str]:
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


def _channel(value: str, location: str, first: int = 1) -> int | None:
    """Return a channel, counted from 1, of a table that counts from `first`; None if it is blank."""
    if not value:
        return None
    channel = text.number(value, "the channel", location)
    if channel != round(channel) or not first <= channel <= 1023 + first:
        raise UserError(
            f"{location}: the channel is {value[:20]}; it must be a whole number from {first} to {1023 + first}"
        )
    return round(channel) + 1 - first


def _selections(chunk: _Chunk, index: int, blank_rows: bool) -> Fields:
    """Return the names of selections in the rows that are not blank."""
    if not blank_rows:
        return chunk.column(index)
    return [fields[index] if index < len(fields) else "" for fields in chunk.by_row() if not _is_blank(fields)]


def _without_views(rows: list[Row], selections: list[str]) -> list[Row]:
    """Return the rows with all views of a selection in Raven as one event; `selections` has the name of each row's.

    The view with frequencies is kept, because a waveform view has none.
    """
    if len(set(selections)) == len(rows):
        return rows
    keys = [
        (name, row.recording, row.event.start, row.event.end, row.event.channel) if name and row.event else number
        for number, (name, row) in enumerate(zip(map(str.strip, selections), rows, strict=True))
    ]
    merged = dict(zip(keys, rows, strict=True))
    for key, row in zip(reversed(keys), reversed(rows), strict=True):
        if row.event is not None and row.event.low is not None:
            merged[key] = row
    return list(merged.values())
