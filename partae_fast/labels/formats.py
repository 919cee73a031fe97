"""Detect the format of a label file by its content, and read it."""

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import annotations, audacity, tables, text
from .event import Table

_BUILT_IN = ("audacity", "raven", "csv", "birdnet")
FORMATS = (*_BUILT_IN, *annotations.FORMATS)


def read_labels(path: PathLike, format: str | None = None) -> Table:
    """Return the rows of a label file in one of `FORMATS`, by default the one that its content shows.

    An empty file is an Audacity track without labels.

    Raises UserError if the file cannot be read, has none of the formats or is malformed, and if the format is unknown
    or needs a library that is not installed.
    """
    format = _detect_format(path) if format is None else format
    if format == "audacity":
        return audacity.read(path)
    if format in _BUILT_IN:
        return tables.read(path, format)
    if format in annotations.FORMATS:
        return annotations.read(path, format)
    raise UserError(f"label format is {format!r}; choose one of {', '.join(FORMATS)}")


def _detect_format(path: PathLike) -> str:
    path = require_file(path, empty=True)
    with open(path, "rb") as file:
        format = annotations.detect_format(path, file.read(4096))
    if format:
        return format
    content = text.read_text(path)
    format = tables.detect_dialect(content)
    if format:
        return format
    number, line = next(((n, line) for n, line in enumerate(content.split("\n"), 1) if line.strip()), (1, "0"))
    if line.startswith("\\") or text.is_number(line.split("\t")[0]):
        return "audacity"
    missing_columns = tables.missing(content)
    if missing_columns:
        raise UserError(f"{path}, {missing_columns}")
    raise UserError(
        f"{path}, line {number}: the line has {line.strip()[:60]!r}; a label file must be an Audacity track, "
        "start<TAB>end<TAB>label in seconds, or a table whose first line names at least the columns start and end"
    )
