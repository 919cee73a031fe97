"""Read the annotations of ELAN (.eaf)."""

from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.etree import ElementTree

from ..audio.files import PathLike, require_file
from ..audio.folders import SUFFIXES
from ..errors import UserError
from . import text
from .event import Event, Row, Table


def read(path: PathLike) -> Table:
    """Return the rows of an ELAN file: the annotations of all tiers that have times of their own.

    An annotation without times of its own refers to another one or divides it, whose time it shares. The recording is
    the first linked media file with a suffix of audio, or else the first one.

    Raises UserError if the file is not the XML of ELAN, or if a time is wrong.
    """
    content = require_file(path).read_bytes()
    letters = content.replace(b"\0", b"")  # turns ASCII text in UTF-16 into ASCII
    if b"<!DOCTYPE" in letters or b"<!ENTITY" in letters:  # entities may expand without end
        raise UserError(f"{path}: has a document type, which ELAN does not write; save it again in ELAN")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: is not a file of ELAN: {' '.join(str(error).split())}; save it again") from None
    if root.tag != "ANNOTATION_DOCUMENT":
        raise UserError(f"{path}: is not a file of ELAN: it contains {root.tag[:40]!r}; save it again in ELAN")
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iterfind("TIME_ORDER/TIME_SLOT")}
    recording = _recording(root)
    events = []
    for number, annotation in enumerate(root.iterfind("TIER/ANNOTATION/ALIGNABLE_ANNOTATION"), start=1):
        start, end = (times.get(annotation.get(f"TIME_SLOT_REF{i}")) for i in (1, 2))
        if start is not None and end is not None:
            location = f"{path}: annotation {number}"
            milliseconds = (text.number(time, "a time in milliseconds", location) for time in (start, end))
            start, end = (time / 1000 for time in milliseconds)
            text.require_order(start, end, location)
            events.append(Event(start, end, (annotation.findtext("ANNOTATION_VALUE") or "").strip()))
    return Table("elan", [Row(event, recording) for event in events] or [Row(None, recording)])


def _recording(root: Any) -> str | None:
    """Return the path of the recording, or None if no media file is linked."""
    media = root.findall("HEADER/MEDIA_DESCRIPTOR")
    media.sort(key=lambda entry: not entry.get("MIME_TYPE", "").startswith("audio/"))  # before videos
    links = [entry.get("RELATIVE_MEDIA_URL") or entry.get("MEDIA_URL") or "" for entry in media]
    try:
        names = [unquote(urlsplit(link).path) for link in links if link]
    except ValueError:  # a malformed address
        return None
    audio = [name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES]
    return next(iter(audio or names), None)
