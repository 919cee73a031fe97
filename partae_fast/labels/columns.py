"""Column layouts of the label tables that programs write."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Layout:
    """Columns of a table that a program writes.

    `required` and `optional` map a role, such as "start", to the name of its column; case does not matter. Of several
    optional names, the first one in the header is used. The column of confidences is not read; it only identifies
    BirdNET's tables.
    """

    dialect: str
    program: str
    required: dict[str, str]
    optional: dict[str, tuple[str, ...]]

    def columns(self, header: Sequence[str]) -> dict[str, int]:
        """Return the index of the column of each role that the header has."""
        index = _indices(header)
        columns = {role: index[name.lower()] for role, name in self.required.items() if name.lower() in index}
        for role, names in self.optional.items():
            matches = [index[name.lower()] for name in names if name.lower() in index]
            columns |= {role: matches[0]} if matches else {}
        return columns

    def missing(self, header: Sequence[str]) -> list[str]:
        """Return the names of the required columns that the header does not have."""
        return [name for name in self.required.values() if name.lower() not in _indices(header)]


_RAVEN = {"start": "Begin Time (s)", "end": "End Time (s)"}
_RAVEN_OPTIONAL = {
    "view": ("View",),
    "channel": ("Channel",),
    "low": ("Low Freq (Hz)",),
    "high": ("High Freq (Hz)",),
    "file": ("Begin Path", "Begin File"),
    "offset": ("File Offset (s)",),
    "last": ("End Path", "End File"),
}
_FOLDERS = {"root": "INDIR", "folder": "FOLDER", "file": "IN FILE"}
_KALEIDOSCOPE = {"file": "IN FILE", "start": "OFFSET", "duration": "DURATION"}
_CSV_OPTIONAL = {
    "file": ("file",),
    "duration": ("duration",),
    "label": ("label",),
    "low": ("low",),
    "high": ("high",),
    "channel": ("channel",),
}
# A layout comes before those whose columns are a subset of its own.
LAYOUTS = (
    Layout(
        "birdnet",
        "BirdNET's table for Raven",
        {**_RAVEN, "label": "Common Name", "confidence": "Confidence"},
        {"selection": ("Selection",), **_RAVEN_OPTIONAL},
    ),
    Layout(
        "birdnet",
        "BirdNET's CSV",
        {"start": "Start (s)", "end": "End (s)", "label": "Common name", "confidence": "Confidence", "file": "File"},
        {},
    ),
    Layout(
        "birdnet",
        "BirdNET's table for R",
        {"file": "filepath", "start": "start", "end": "end", "label": "common_name", "confidence": "confidence"},
        {},
    ),
    Layout(
        "birdnet",
        "BirdNET's table for Kaleidoscope",
        {**_FOLDERS, **_KALEIDOSCOPE, "label": "common_name", "confidence": "confidence"},
        {},
    ),
    Layout(
        "raven",
        "a Raven selection table",
        {"selection": "Selection", **_RAVEN},
        {**_RAVEN_OPTIONAL, "label": ("Annotation",)},
    ),
    Layout(
        "csv",
        "Kaleidoscope's table",
        _KALEIDOSCOPE,
        {
            "root": ("INDIR",),
            "folder": ("FOLDER",),
            "channel_from_0": ("CHANNEL",),
            "label": ("MANUAL ID",),
            "automatic_label": ("TOP1MATCH", "AUTO ID"),
        },
    ),
    Layout("csv", "a CSV table", {"start": "start", "end": "end"}, _CSV_OPTIONAL),
    Layout("csv", "a CSV table", {"start": "start", "duration": "duration"}, _CSV_OPTIONAL),
)
# Raven's own columns without labels and without a unit in parentheses.
_RAVEN_COLUMNS = {
    *("begin path", "end path", "begin file", "end file", "begin date", "end date", "begin date time"),
    *("begin clock time", "end clock time", "occupancy", "score"),
}


def layout_of(header: Sequence[str], dialect: str | None = None) -> Layout | None:
    """Return the first layout, of `dialect` or of any, whose required columns are all in the header, or None."""
    layouts = (layout for layout in LAYOUTS if dialect in (None, layout.dialect) and not layout.missing(header))
    return next(layouts, None)


def nearest(header: Sequence[str], dialect: str | None = None) -> tuple[Layout, int]:
    """Return the layout with the fewest columns missing in the header, and how many of its columns are there."""
    layouts = [layout for layout in LAYOUTS if dialect in (None, layout.dialect)]
    layout = min(layouts, key=lambda layout: (len(layout.missing(header)), -len(layout.columns(header))))
    return layout, len(layout.columns(header))


class Chunk(Protocol):
    """Some rows of a table."""

    def column(self, index: int) -> Sequence[str]: ...


def user_label_column(header: Sequence[str], columns: dict[str, int], chunks: Iterable[Chunk]) -> int | None:
    """Return the index of the column that the user added to a Raven table for labels, or None.

    Columns with a unit in parentheses and those in `_RAVEN_COLUMNS` are Raven's own. Of the others, the label column is
    the first one with letters in its fields, or else the first one with numbers.
    """
    candidates = [
        index
        for index, name in enumerate(header)
        if index not in columns.values() and "(" not in name and name.strip().lower() not in {"", *_RAVEN_COLUMNS}
    ]
    with_letters, with_values = set(), set()
    for chunk in chunks if candidates else ():
        for index in candidates:
            fields = "".join(chunk.column(index))
            if fields and not fields.isspace():
                with_values.add(index)
                if re.search(r"[^\W\d_]", fields):
                    with_letters.add(index)
        if candidates[0] in with_letters:
            break
    return next((index for group in (with_letters, with_values) for index in candidates if index in group), None)


def _indices(header: Sequence[str]) -> dict[str, int]:
    """Return the index of each name in lower case; a repeated name has its first index.

    Kaleidoscope marks names with a star.
    """
    return {name.strip(" \t*").lower(): index for index, name in reversed([*enumerate(header)])}
