"""Read Praat's TextGrid files, long and short."""

import re
from collections.abc import Iterator

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import text
from .event import Event, Row, Table

# Praat's rule for text files: strings, flags and free-standing numbers are values, and the rest is for human readers.
_VALUE = re.compile(r'"((?:[^"]|"")*)"|(<exists>|<absent>)|(?<!\S)([+-]?[0-9][0-9.eE+-]*)(?!\S)|(!.*)')
_INTERVALS, _POINTS = "IntervalTier", "TextTier"


def read(path: PathLike) -> Table:
    """Return the rows of a TextGrid: the intervals of all tiers whose text is not blank, and the points.

    Raises UserError, with the line number, if a value is missing or wrong, and if the file is a binary TextGrid.
    """
    with open(require_file(path), "rb") as file:
        if b"ooBinaryFile" in file.read(40):
            raise UserError(f"{path}: is a binary TextGrid; save it in Praat with Save as text file")
    values = _Values(path, text.read_text(path))
    if (values.string("the file type"), values.string("the object class")) != ("ooTextFile", "TextGrid"):
        raise UserError(f"{path}: is not a TextGrid; save the annotations of Praat as a TextGrid, in text form")
    for quantity in ("the start", "the end"):
        values.number(quantity)
    events = [*_tiers(values)] if values.flag() == "<exists>" else []
    return Table("textgrid", [Row(event) for event in events] or [Row(None)])


def _tiers(values: "_Values") -> Iterator[Event]:
    """Yield the events of all tiers."""
    for _ in range(values.count("the number of tiers")):
        kind = values.string("the class of a tier")
        if kind not in (_INTERVALS, _POINTS):
            raise UserError(f"{values.location}: the tier is a {kind[:40]!r}; it must be an {_INTERVALS} or {_POINTS}")
        values.string("the name of a tier")
        for quantity in ("the start of a tier", "the end of a tier"):
            values.number(quantity)
        for _ in range(values.count("the number of labels")):
            start = values.number("the start of a label")
            end = values.number("the end of a label") if kind == _INTERVALS else start
            text.require_order(start, end, values.location)
            label = values.string("the text of a label").strip()
            if label or kind == _POINTS:
                yield Event(start, end, label)


class _Values:
    """The values of a text file of Praat, one after the other, with the place of the last one for messages."""

    def __init__(self, path: PathLike, content: str) -> None:
        self._path, self._content, self._position = path, content, 0
        self._matches = (match for match in _VALUE.finditer(content) if match[4] is None)

    @property
    def location(self) -> str:
        """File and line of the last value."""
        return f"{self._path}, line {self._content.count(chr(10), 0, self._position) + 1}"

    def string(self, quantity: str) -> str:
        """Return the next value, which must be a string."""
        return self._next(1, quantity, "text in double quotes").replace('""', '"')

    def flag(self) -> str:
        """Return the next value, which must be a flag."""
        return self._next(2, "the flag of the tiers", "<exists> or <absent>")

    def number(self, quantity: str) -> float:
        """Return the next value, which must be a number."""
        return text.number(self._next(3, quantity, "a number"), quantity, self.location)

    def count(self, quantity: str) -> int:
        """Return the next value, which must be a whole number."""
        number = self.number(quantity)
        if number != round(number) or number < 0:
            raise UserError(f"{self.location}: {quantity} is {number:g}; it must be a whole number")
        return round(number)

    def _next(self, group: int, quantity: str, expected: str) -> str:
        match = next(self._matches, None)
        if match is None:
            self._position = len(self._content)
            raise UserError(f"{self.location}: the file ends where {quantity} should be; save it again")
        self._position = match.start()
        if match[group] is None:
            raise UserError(f"{self.location}: {quantity} is {' '.join(match[0].split())[:40]}; it must be {expected}")
        return match[group]
