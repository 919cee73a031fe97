"""Detect the format of a label file by its content, and read it."""

import contextlib
import gc
from collections.abc import Iterator

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import annotations, audacity, elan, praat, tables, text
from .event import Table

_BUILT_IN = ("audacity", "raven", "csv", "birdnet")
_HEAD = 1 << 16  # characters of the first line that are looked at
FORMATS = (*_BUILT_IN, "textgrid", "elan", *annotations.FORMATS)


def read_labels(path: PathLike, format: str | None = None) -> Table:
    """Return the rows of a label file in one of `FORMATS`, by default the one that its content shows.

    An empty file is an Audacity track without labels.

    Raises UserError if the file cannot be read, has none of the formats or is malformed, and if the format is unknown
    or needs a library that is not installed.
    """
    content = None
    if format is None:
        format, content = _detect_format(path)
    with _uncollected():
        if format == "audacity":
            return audacity.read(path, content)
        if format in _BUILT_IN:
            return tables.read(path, format, content)
    if format == "textgrid":
        return praat.read(path)
    if format == "elan":
        return elan.read(path)
    if format in annotations.FORMATS:
        return annotations.read(path, format)
    raise UserError(f"label format is {format!r}; choose one of {', '.join(FORMATS)}")


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Switch the search for reference cycles off, which takes longer than the reading of a million rows."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _detect_format(path: PathLike) -> tuple[str, str | None]:
    """Return the format of a file, and its text if that was read."""
    path = require_file(path, empty=True)
    with open(path, "rb") as file:
        start = file.read(4096)
    format = annotations.detect_format(path, start)
    if b"<ANNOTATION_DOCUMENT" in start.replace(b"\0", b""):
        return "elan", None
    if format:
        return format, None
    content = text.read_text(path)
    format = tables.detect_dialect(content)
    if format:
        return format, content
    head = content.lstrip()[:_HEAD]
    number = content[: len(content) - len(content.lstrip())].count("\n") + 1
    line = head.split("\n")[0] or "0"
    if line.startswith("\\") or text.is_number(line.split("\t")[0]):
        return "audacity", content
    missing_columns = tables.missing(content)
    if missing_columns:
        raise UserError(f"{path}, {missing_columns}")
    raise UserError(
        f"{path}, line {number}: the line has {line.strip()[:60]!r}; a label file must be an Audacity track, "
        "start<TAB>end<TAB>label in seconds, or a table whose first line names at least the columns start and end"
    )
