"""Formats that crowsetta reads, a library for annotations of animal sounds: the extra `annotations`.

https://crowsetta.readthedocs.io
"""

import re
from pathlib import Path
from typing import Any

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import text
from .event import Event, Row, Table

# Those of its formats that no reader here knows.
FORMATS = ("textgrid", "birdsong-recognition-dataset", "notmat", "yarden", "timit")
_IN_SAMPLES = ("birdsong-recognition-dataset", "timit")


def recognised(path: Path, start: bytes) -> str | None:
    """The format that a file's first bytes show, and for some its name; None for one that is not among these."""
    letters = start.replace(b"\0", b"")  # UTF-16 looks plain without them
    if b"TextGrid" in letters[:80] and (b"ooTextFile" in letters[:40] or b"ooBinaryFile" in letters[:40]):
        return "textgrid"
    if start.startswith(b"MATLAB 5.0 MAT-file"):
        return "notmat" if path.name.lower().endswith(".not.mat") else "yarden"
    if b"<Sequences" in letters and b"<?xml" in letters[:64]:
        return "birdsong-recognition-dataset"
    if path.suffix.lower() in (".phn", ".wrd") and re.match(rb"\s*\d+ \d+ \S", start):
        return "timit"
    return None


def read(path: PathLike, format: str) -> Table:
    """The rows of a file in one of `FORMATS`, read by crowsetta.

    Raises UserError where crowsetta is not installed or cannot read the file.
    """
    place = require_file(path, empty=True)
    try:
        import crowsetta
    except ImportError:
        raise UserError(
            f"{path}: labels of format {format} are read by crowsetta, which is not installed; "
            "pip install 'partae-fast[annotations]'"
        ) from None
    rounding: dict[str, Any] = {"round_times": False}
    if format in _IN_SAMPLES:
        rounding["samplerate"] = 1  # seconds are then samples: the recording's own rate is known later
    try:
        found = crowsetta.Transcriber(format=format).from_file(place).to_annot(**rounding)
    except Exception as error:  # whatever its parsers run into, in a file that anyone may have made
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: crowsetta cannot read it as {format}: {reason}") from error
    annotated = found if isinstance(found, list) else [found]
    rows = [row for annotation in annotated for row in _rows(annotation, str(path))]
    return Table(format, rows, samples=format in _IN_SAMPLES)


def _rows(annotation: Any, name: str) -> list[Row]:
    """The events of one recording; a row without one where there are none."""
    recording = str(annotation.notated_path) if annotation.notated_path else None
    sequences = annotation.seq if isinstance(annotation.seq, list) else [annotation.seq]
    events = []
    for sequence in sequences:
        for segment in sequence.segments:
            start, end = float(segment.onset_s), float(segment.offset_s)
            where = f"{name}: label {segment.label!r}"
            text.require_order(start, end, where)
            text.number(repr(end), "its end", where)
            events.append(Event(start, end, str(segment.label).strip()))
    return [Row(event, recording) for event in events] or [Row(None, recording)]
