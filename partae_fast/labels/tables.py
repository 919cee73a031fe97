"""Tables with a header line: CSV of any make, Raven's selection tables, BirdNET's results."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from ..audio.files import PathLike
from ..errors import UserError
from . import columns, text
from .event import Event, Row, Table

SEPARATORS = "\t;,"
_WANTED = "a header line must name the columns, start and end at least, such as file,start,end,label"
_NONE = "nocall"  # BirdNET's label of a recording in which it found nothing
_BLANK = ("", "nan", "na", "none", "null")


@dataclass(frozen=True)
class _Grid:
    """The fields of a table, as text."""

    header: list[str]
    has: dict[str, int]  # what a column holds -> its index
    lines: list[tuple[int, list[str]]]  # with their numbers in the file
    separator: str


def recognised(content: str) -> str | None:
    """ "raven", "birdnet" or "csv", by the header of a label file's text; None where it is none of them."""
    grid = _best_grid(content, first_only=True)
    return None if grid is None else _dialect(grid)


def read(path: PathLike, dialect: str | None = None) -> Table:
    """The rows of a table; `dialect` is "csv", "raven", "birdnet" or, to see from its header, None.

    Columns go by their names, in any case and order: see `columns`. The separator is a tab, semicolon or comma. A row
    with a recording and no times says that it was reviewed and nothing found.

    Raven: views of one selection count once; a start in the file is preferred to a start in the sequence of files.
    BirdNET: its frequencies are the range that it listens to, not the call's, and its channel is always 1: both are
    left out.

    Raises UserError where it cannot be read and, with the line's number, for a row that cannot be.
    """
    content = text.text_of(path)
    grid = _best_grid(content)
    if grid is None:
        if not content.strip():
            return Table(dialect or "csv", [])
        first = next(line for line in content.splitlines() if line.strip())
        raise UserError(f"{path}, line 1: {first.strip()[:60]!r} found; {_WANTED}")
    dialect = dialect or _dialect(grid)
    if dialect == "raven" and "label" not in grid.has:
        own = columns.own_label(grid.header, grid.has, [fields for _, fields in grid.lines])
        grid.has.update({} if own is None else {"label": own})
    rows: dict[tuple, Row] = {}
    for number, fields in grid.lines:
        where = f"{path}, line {number}"
        row = _row(grid, fields, dialect, where)
        key = (number,) if dialect == "csv" else _selection(grid, fields, row, number)
        rows[key] = _with_frequencies(rows.get(key), row)
    running = dialect == "raven" and "file" in grid.has and "offset" not in grid.has
    return Table(dialect, list(rows.values()), running=running)


def _dialect(grid: _Grid) -> str:
    if columns.is_birdnet(grid.header, grid.has):
        return "birdnet"
    return "raven" if columns.is_raven(grid.has) else "csv"


def _best_grid(content: str, first_only: bool = False) -> _Grid | None:
    """The table as read with the separator that shows most columns; None where none shows times."""
    best = None
    for separator in SEPARATORS:
        lines = _lines(content, separator, first_only)
        if lines:
            header = lines[0][1]
            has = columns.roles(header)
            if columns.is_table(has) and (best is None or len(has) > len(best.has)):
                best = _Grid(header, has, lines[1:], separator)
    return best


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
