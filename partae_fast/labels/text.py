"""Decode label files, and parse and check the numbers in them."""

import codecs
import math
import re
from collections.abc import Sequence

import numpy as np

from ..audio.files import PathLike, require_file
from ..errors import UserError

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark is its prefix
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # characters that labels do not have but binaries do
_ASCII_CONTROL = bytes(code for code in range(128) if _CONTROL.match(chr(code)))
# No part can match the same text in two ways, so the time to refuse a long text is proportional to its length.
_NUMBER = re.compile(r"[+-]?(([0-9]+([.,][0-9]*)?|[.,][0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,3}):([0-5]?[0-9]):([0-5]?[0-9]([.,][0-9]*)?)")


def read_text(path: PathLike) -> str:
    """Return the text of a file in UTF-8, in UTF-16 as Windows programs save it, or in Windows-1252.

    Raises UserError if the file cannot be read or is not text.
    """
    raw = require_file(path, empty=True).read_bytes()
    for encoding in _candidate_encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _has_control(text):
            return text
    raise UserError(f"{path}: is not text; export the labels as text, for example with Audacity's File, Export, Labels")


def _has_control(text: str) -> bool:
    if text.isascii():
        content = text.encode()
        return len(content.translate(None, _ASCII_CONTROL)) < len(content)  # three times as fast as the pattern
    return _CONTROL.search(text) is not None


def _candidate_encodings(raw: bytes) -> list[str]:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            return [encoding]
    # Every second byte of ASCII text in UTF-16 is 0.
    if raw[1:2] == b"\0":
        return ["utf-16-le"]
    if raw[:1] == b"\0":
        return ["utf-16-be"]
    return ["utf-8", "cp1252"]


def split_columns(lines: str, separators: str) -> list[list[str]] | None:
    r"""Return the columns of lines whose separators are all as expected, or None if they are not.

    `separators` are those of one row, in their order: "\t\t\n" for rows of three columns. A row may have several lines.
    The end of the last line may be missing.

    >>> split_columns("1 2\n3 4\n", " \n")
    [['1', '3'], ['2', '4']]
    """
    lines = lines if lines.endswith("\n") else lines + "\n"
    content = np.frombuffer(lines.encode("utf-8", "surrogatepass"), np.uint8)
    row = np.frombuffer(separators.encode(), np.uint8)
    is_separator = content == row[0]
    if row[0] != row[-1]:
        is_separator |= content == row[-1]
    present = content[is_separator]
    if len(present) % len(row) or (present.reshape(-1, len(row)) != row).any():
        return None
    fields = lines.replace("\n", separators[0]).split(separators[0])
    return [fields[index : -1 : len(row)] for index in range(len(row))]


def is_number(text: str) -> bool:
    """Return whether `text` has the form of a number, finite or not."""
    return _NUMBER.fullmatch(text.strip()) is not None


def number(text: str, quantity: str, location: str) -> float:
    """Parse a finite number, with a decimal point or a decimal comma.

    Raises UserError for anything else; `location` begins the message, and `quantity` names the number and its unit.
    """
    text = text.strip()
    if not is_number(text):
        raise UserError(f"{location}: {quantity} is {text[:40]!r}; it must be a number such as 1.25")
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise UserError(f"{location}: {quantity} is {text[:40]}; it must be a finite number")
    return value


def floats(texts: Sequence[str]) -> list[float] | None:
    """Return the finite numbers of texts that have digits and decimal points only; None if a text is anything else."""
    if "".join(texts).encode("utf-8", "surrogatepass").translate(None, b"0123456789."):
        return None
    try:
        numbers = [*map(float, texts)]
    except ValueError:
        return None
    return numbers if max(numbers, default=0.0) < math.inf else None


def seconds(text: str, quantity: str, location: str) -> float:
    """Parse a time in seconds or as hours:minutes:seconds; raise the errors of `number`."""
    clock = _CLOCK.fullmatch(text.strip())
    if clock:
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3].replace(",", "."))
    return number(text, quantity, location)


def require_order(start: float, end: float, location: str) -> None:
    """Raise UserError unless 0 <= start <= end."""
    if not 0 <= start <= end:
        raise UserError(
            f"{location}: the label is from {start:g} to {end:g} s; a label must start at 0 s or later and must not "
            "end before its start"
        )


def require_low_first(low: float | None, high: float | None, location: str) -> None:
    """Raise UserError if `low` is above `high`."""
    if low is not None and high is not None and low > high:
        raise UserError(
            f"{location}: the label is from {low:g} to {high:g} Hz; the lower frequency must come first: swap them"
        )
