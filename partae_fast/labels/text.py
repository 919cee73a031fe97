"""Decode label files, and parse and check the numbers in them."""

import codecs
import math
import re
from collections.abc import Sequence

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
# No part can match the same text in two ways, so the time to refuse a long text is proportional to its length.
_NUMBER = re.compile(r"[+-]?(([0-9]+([.,][0-9]*)?|[.,][0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.IGNORECASE)
_PLAIN = re.compile("[0-9.]*")
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
        if not _CONTROL.search(text):
            return text
    raise UserError(f"{path}: is not text; export the labels as text, for example with Audacity's File, Export, Labels")


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
    if not _PLAIN.fullmatch("".join(texts)):
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
