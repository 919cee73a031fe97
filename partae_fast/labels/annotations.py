"""Read the formats of crowsetta, a library for annotations of animal sounds (extra `annotations`).

https://crowsetta.readthedocs.io
"""

import re
from pathlib import Path
from typing import Any

from ..audio.files import PathLike, require_file
from ..errors import UserError
from . import text
from .event import Event, Row, Table

# Formats of crowsetta without a reader of our own.
FORMATS = ("birdsong-recognition-dataset", "notmat", "yarden", "timit")
_IN_SAMPLES = ("birdsong-recognition-dataset", "timit")


def detect_format(path: Path, start: bytes) -> str | None:
    """Return the format in `FORMATS`, or "textgrid", that a file's first bytes and name show, or None."""
    letters = start.replace(b"\0", b"")  # turns ASCII text in UTF-16 into ASCII
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
    """Return the rows of a file in one of `FORMATS`, read by crowsetta.

    Raises UserError if crowsetta is not installed or cannot read the file.
    """
    file = require_file(path, empty=True)
    try:
        import crowsetta
    except ImportError:
        raise UserError(
            f"{path}: labels of format {format} need crowsetta, which is not installed; "
            "pip install 'partae-fast[annotations]'"
        ) from None
    options: dict[str, Any] = {"round_times": False}
    if format in _IN_SAMPLES:
        options["samplerate"] = 1  # keeps times in samples, because the recording's rate is not available here
    try:
        annotations = crowsetta.Transcriber(format=format).from_file(file).to_annot(**options)
    except Exception as error:  # its parsers raise various exceptions for malformed files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UserError(f"{path}: crowsetta cannot read it as {format}: {reason}") from error
    annotations = annotations if isinstance(annotations, list) else [annotations]
    rows = [row for annotation in annotations for row in _rows(annotation, str(path))]
    return Table(format, rows, samples=format in _IN_SAMPLES)


def _rows(annotation: Any, name: str) -> list[Row]:
    """Return the events of one recording, or a single row without an event if it has none."""
    recording = str(annotation.notated_path) if annotation.notated_path else None
    sequences = annotation.seq if isinstance(annotation.seq, list) else [annotation.seq]
    events = []
    for sequence in sequences:
        for segment in sequence.segments:
            start, end = float(segment.onset_s), float(segment.offset_s)
            location = f"{name}: label {segment.label!r}"
            text.require_order(start, end, location)
            text.number(repr(end), "the end time", location)
            events.append(Event(start, end, str(segment.label).strip()))
    return [Row(event, recording) for event in events] or [Row(None, recording)]
