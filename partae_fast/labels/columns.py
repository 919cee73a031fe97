"""The columns of label tables, as the programs that write them name them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """A table that a program writes.

    required, optional: the names of its columns by what they hold, without regard to case; of several names for one the
    first that is there counts. Confidences are not read: they tell BirdNET's tables from others.
    """

    dialect: str
    program: str
    required: dict[str, str]
    optional: dict[str, tuple[str, ...]]

    def columns(self, header: Sequence[str]) -> dict[str, int]:
        """Return the index of the column that holds each role."""
        index = _indices(header)
        has = {role: index[name.lower()] for role, name in self.required.items() if name.lower() in index}
        for role, names in self.optional.items():
            found = [index[name.lower()] for name in names if name.lower() in index]
            has |= {role: found[0]} if found else {}
        return has

    def missing(self, header: Sequence[str]) -> list[str]:
        """Return the names of the required columns that are not there."""
        return [name for name in self.required.values() if name.lower() not in _indices(header)]


_RAVEN = {"start": "Begin Time (s)", "end": "End Time (s)"}
_RAVEN_TOO = {
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
_CSV_TOO = {
    "file": ("file",),
    "duration": ("duration",),
    "label": ("label",),
    "low": ("low",),
    "high": ("high",),
    "channel": ("channel",),
}
# The more particular one comes first.
LAYOUTS = (
    Layout(
        "birdnet",
        "BirdNET's table for Raven",
        {**_RAVEN, "label": "Common Name", "confidence": "Confidence"},
        {"selection": ("Selection",), **_RAVEN_TOO},
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
        {**_RAVEN_TOO, "label": ("Annotation",)},
    ),
    Layout(
        "csv",
        "Kaleidoscope's table",
        _KALEIDOSCOPE,
        {"root": ("INDIR",), "folder": ("FOLDER",)},
    ),
    Layout("csv", "a CSV table", {"start": "start", "end": "end"}, _CSV_TOO),
    Layout("csv", "a CSV table", {"start": "start", "duration": "duration"}, _CSV_TOO),
)
# Raven's columns that hold no labels and have no unit in parentheses.
_RAVEN_OWN = {
    *("begin path", "end path", "begin file", "end file", "begin date", "end date", "begin date time"),
    *("begin clock time", "end clock time", "occupancy", "score"),
}


def layout_of(header: Sequence[str], dialect: str | None = None) -> Layout | None:
    """Return the layout that has all of its required columns in a header; of one dialect, where that is given."""
    fitting = (layout for layout in LAYOUTS if dialect in (None, layout.dialect) and not layout.missing(header))
    return next(fitting, None)


def nearest(header: Sequence[str], dialect: str | None = None) -> tuple[Layout, int]:
    """Return the layout with the fewest columns missing in a header, and how many of its columns are there."""
    layouts = [layout for layout in LAYOUTS if dialect in (None, layout.dialect)]
    layout = min(layouts, key=lambda layout: (len(layout.missing(header)), -len(layout.columns(header))))
    return layout, len(layout.columns(header))


def own_label(header: Sequence[str], has: dict[str, int], rows: Sequence[Sequence[str]]) -> int | None:
    """Return the column of a Raven table that the user added for labels, whatever its name.

    That is the first that is none of Raven's own, which have a unit or are known, and has letters in it; else the first
    that has numbers.
    """
    numbers = None
    for index, name in enumerate(header):
        if index in has.values() or "(" in name or name.strip().lower() in _RAVEN_OWN or not name.strip():
            continue
        values = "".join(row[index] for row in rows if index < len(row))
        if re.search(r"[^\W\d_]", values):
            return index
        numbers = index if numbers is None and values.strip() else numbers
    return numbers


def _indices(header: Sequence[str]) -> dict[str, int]:
    return {name.strip().lower(): index for index, name in reversed([*enumerate(header)])}
