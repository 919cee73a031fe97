"""The text of a label file, in whatever encoding it was saved, and the numbers in it."""

import codecs
import math
import re

from ..audio.files import PathLike, require_file
from ..errors import UserError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")  # in no label, and in most files that are not text
_NUMBER = re.compile(r"[+-]?(([0-9]+[.,]?[0-9]*|[.,][0-9]+)(e[+-]?[0-9]+)?|nan|inf(inity)?)", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,3}):([0-5]?[0-9]):([0-5]?[0-9]([.,][0-9]*)?)")


def text_of(path: PathLike) -> str:
    """The file's text: UTF-8, or UTF-16 as Windows programs save it, or else Windows-1252.

    Raises UserError where it cannot be read or is not text.
    """
    raw = require_file(path, empty=True).read_bytes()
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if not _CONTROL.search(text):
            return text
    raise UserError(
        f"{path}: is not text; give labels that were exported as text, such as Audacity's File, Export, Labels"
    )


def _encodings(raw: bytes) -> list[str]:
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            return [encoding]
    # Plain letters in UTF-16 have every second byte 0.
    if raw[1:2] == b"\0":
        return ["utf-16-le"]
    if raw[:1] == b"\0":
        return ["utf-16-be"]
    return ["utf-8", "cp1252"]


def is_number(text: str) -> bool:
    """Whether `number` would take it, or refuse it only for its value."""
    return _NUMBER.fullmatch(text.strip()) is not None


def number(text: str, what: str, where: str) -> float:
    """A finite number, with a point or a comma before its decimals.

    Raises UserError that begins with `where`; `what` says what is wanted, with its unit.
    """
    text = text.strip()
    if not is_number(text):
        raise UserError(f"{where}: {text[:40]!r} found; {what} must be a number such as 1.25")
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise UserError(f"{where}: {text[:40]} found; {what} must be a finite number")
    return value


def seconds(text: str, what: str, where: str) -> float:
    """A time: seconds, or hours:minutes:seconds; raises as `number` does."""
    clock = _CLOCK.fullmatch(text.strip())
    if clock:
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3].replace(",", "."))
    return number(text, what, where)


def require_order(start: float, end: float, where: str) -> None:
    """Raise UserError where a label does not start at 0 or later and end after it."""
    if not 0 <= start <= end:
        raise UserError(f"{where}: from {start:g} to {end:g} s; a label must start at 0 or later and end after it")


def require_low_first(low: float | None, high: float | None, where: str) -> None:
    """Raise UserError where a label's frequencies are the wrong way round."""
    if low is not None and high is not None and low > high:
        raise UserError(f"{where}: from {low:g} to {high:g} Hz; the lower frequency must come first: swap them")
