"""Which format a label file has, by what is in it, and its rows."""

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import annotations, audacity, tables, text
from .event import Table

_OWN = ("audacity", "raven", "csv", "birdnet")
FORMATS = (*_OWN, *annotations.FORMATS)


def read_labels(path: PathLike, format: str | None = None) -> Table:
    """The rows of a label file in any format that is known, by default the one that its content shows.

    An empty file is an Audacity track without labels.

    Raises UserError where the file cannot be read, is none of the formats or is malformed, and for a format that is not
    known or needs a library that is not installed.
    """
    format = _recognised(path) if format is None else format
    if format == "audacity":
        return audacity.read(path)
    if format in _OWN:
        return tables.read(path, format)
    if format in annotations.FORMATS:
        return annotations.read(path, format)
    raise UserError(f"label format {format!r} is not known; choose {', '.join(FORMATS)}")


def _recognised(path: PathLike) -> str:
    place = require_file(path, empty=True)
    with open(place, "rb") as file:
        found = annotations.recognised(place, file.read(4096))
    if found:
        return found
    content = text.text_of(place)
    found = tables.recognised(content)
    if not found:
        number, line = next(((n, line) for n, line in enumerate(content.split("\n"), 1) if line.strip()), (1, "0"))
        if not (line.startswith("\\") or text.is_number(line.split("\t")[0])):
            reason = tables.missing(content)
            if reason:
                raise UserError(f"{path}, {reason}")
            raise UserError(
                f"{path}, line {number}: {line.strip()[:60]!r} found; labels must be an Audacity track, "
                "start<TAB>end<TAB>label in seconds, or a table whose first line names columns, start and end at least"
            )
    return found or "audacity"
