"""label files, as programs write them, and as disks, editors and mistakes leave them."""

import importlib.util
import itertools
import math
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from partae_fast.errors import UserError
from partae_fast.labels import FORMATS, Recording, Rules, Timeline, annotations, match_recordings, read_labels
from partae_fast.labels.summary import summarise

from .limits import within_limits

_HEADERS = (
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tBegin Path\t"
    "File Offset (s)",
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tBegin File\tEnd File\tTags",
    "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
    "Species Code\tConfidence\tBegin Path\tFile Offset (s)",
    "Start (s),End (s),Scientific name,Common name,Confidence,File",
    "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence",
    "file,start,end,label",
    "File;START;end;Label;channel",
    "file,start,duration,label,low,high",
)
# fmt: off
_ODD = st.one_of(
    st.sampled_from((
        "", "", "0", "1", "1.5", "2,25", "-1", "-0", "9.99", "10.05", "nan", "inf", "1e400", "1e-320", "9" * 400,
        "0:00:03", "1:2:3,5", "a.wav", "b\\a.wav", "/x/a.WAV", "C:\\x\\b.flac", "..", "nocall", "1.0.0",
        '"', '"a', "sep=;", "\\", "1_0", "１", "٣", "=1+1", "\x0b", "\u2028", "\x85", "#", "None",
    )),
    st.floats().map(repr),
    st.text(max_size=8),
)
# fmt: on
_FITTING = {
    "begin": st.floats(0, 5).map(lambda value: f"{value:.3f}"),
    "end": st.floats(5, 12).map(lambda value: f"{value:.3f}"),
    "low": st.integers(0, 500).map(str),
    "high": st.integers(500, 20000).map(str),
    "file": st.sampled_from(("a.wav", "b/a.wav", "b.wav", "x/b.wav", "c.wav", "a.flac", "C:\\b\\a.wav", "a")),
    "channel": st.sampled_from(("1", "2", "")),
    "other": st.sampled_from(("1", "2", "a", "b", "nocall", "", "Waveform 1")),
}
_ROLES = {
    "begin": ("begin time", "start", "offset", "file offset"),
    "end": ("end time", "end", "duration"),
    "low": ("low",),
    "high": ("high",),
    "file": ("file", "begin path", "begin file", "end file", "folder", "indir", "in file"),
    "channel": ("channel",),
}
_ENDS = st.sampled_from(("\n", "\r\n", "\r", "\n\n"))
_ENCODINGS = st.sampled_from(
    ("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "utf-32")
)
_TEXT_GRID = (
    'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 2\ntiers? <exists>\nsize = 1\nitem []:\n'
    '    item [1]:\n        class = "IntervalTier"\n        name = "a"\n        xmin = 0\n        xmax = 2\n        '
    "intervals: size = 1\n        intervals [1]:\n            xmin = 0.5\n            xmax = 1\n            "
    'text = "b"\n'
)
_NOTES = "<Note><Position>10</Position><Length>20</Length><Label>a</Label></Note>"
_SEQUENCES = (
    "<?xml version='1.0'?><Sequences><NumSequence>1</NumSequence><Sequence><WaveFileName>a.wav</WaveFileName>"
    f"<Position>5</Position><Length>100</Length><NumNote>1</NumNote>{_NOTES}</Sequence></Sequences>"
)


def _fitting(column: str) -> st.SearchStrategy[str]:
    """What may well stand in a column."""
    name = column.lower()
    return _FITTING[next((role for role, words in _ROLES.items() if name.startswith(words)), "other")]


@st.composite
def _tables(draw: st.DrawFn) -> str:
    """A header that programs write, or a mix of its columns, and rows under it that are right, or not quite."""
    header = draw(st.sampled_from(_HEADERS))
    separator = "\t" if "\t" in header else ";" if ";" in header else ","
    columns = header.split(separator)
    if draw(st.integers(0, 5)) == 0:
        columns = draw(st.lists(st.sampled_from(columns), max_size=9))
        separator = draw(st.sampled_from((separator, "\t", ";", ",")))
    row = st.tuples(*map(_fitting, columns)).map(list)
    rows = draw(st.lists(row, max_size=4))
    for _ in range(draw(st.integers(0, 2)) if rows else 0):
        its = draw(st.sampled_from(rows))
        at = draw(st.integers(0, len(its)))
        its[at : at + draw(st.integers(0, 1))] = [draw(_ODD)] * draw(st.integers(0, 1))
    return draw(_ENDS).join(separator.join(row) for row in [columns, *rows])


@st.composite
def _tracks(draw: st.DrawFn) -> str:
    """Lines of an Audacity track, some of them odd."""
    time = st.tuples(_FITTING["begin"], _FITTING["end"], _FITTING["other"]).map("\t".join)
    band = st.tuples(st.just("\\"), _FITTING["low"], _FITTING["high"]).map("\t".join)
    both = st.tuples(time, band).map("\n".join)
    odd = st.lists(_ODD, max_size=4).map("\t".join)
    return draw(_ENDS).join(draw(st.lists(st.one_of(time, both, time, both, odd), max_size=5)))


_TEXTS = st.one_of(_tables(), _tracks(), st.sampled_from((_TEXT_GRID, _SEQUENCES, "0 7812 h#\n7812 9507 sh\n")))


@st.composite
def _label_files(draw: st.DrawFn) -> bytes:
    """Bytes of a label file: as programs write them, and as disks, editors and mistakes leave them."""
    text = draw(st.one_of(_TEXTS, _TEXTS, _TEXTS, st.text(max_size=60)))
    raw = bytearray(text.encode(draw(_ENCODINGS), errors="replace"))
    for _ in range(draw(st.sampled_from((0, 0, 1, 3)))):
        at = draw(st.integers(0, len(raw)))
        length = draw(st.integers(0, 12))
        piece = draw(st.one_of(st.binary(max_size=6), st.just(bytes(raw[at : at + 20]))))
        raw[at : at + length] = piece
    return bytes(raw)


_RECORDINGS = [Recording(name, 10.0, 8000) for name in ("a.wav", "b/a.wav", "b/b.wav", "a.flac")]
_RULES = Rules(signal_labels=("a", "1"), noise_labels=("nocall", ""), min_noise=0.5)


_SUFFIXES: dict[str, str] = dict(
    zip(
        ("textgrid", "elan", *annotations.FORMATS),
        (".TextGrid", ".eaf", ".xml", ".not.mat", ".mat", ".phn"),
        strict=True,
    )
)
_FOREIGN = _SUFFIXES if importlib.util.find_spec("crowsetta") else {}


def target() -> tuple[st.SearchStrategy[bytes], Any]:
    """The strategy and the check, for `fuzz`."""
    return _label_files(), check


@within_limits
def check(raw: bytes, folder: Path) -> str:
    """Read the bytes in the format that they show, and in each that may be asked for; "refused", or what they show."""
    told = shown(raw, folder)
    for format in FORMATS:
        # crowsetta takes its time.
        if format not in _SUFFIXES or (format in _FOREIGN and sum(raw) % 8 == 0):
            _check_format(raw, folder / f"a{_SUFFIXES.get(format, '.txt')}", format)
    return told


def shown(raw: bytes, folder: Path) -> str:
    """Read the bytes in the format that they show; "refused", or its name."""
    return _check_format(raw, folder / "a.txt", None)


def _check_format(raw: bytes, path: Path, format: str | None) -> str:
    path.write_bytes(raw)
    try:
        table = read_labels(path, format)
    except UserError as refusal:
        _require_one_line(refusal, path)
        return "refused"
    for row in table.rows:
        if row.event is not None:
            _require_sound(row.event)
    for recordings in (_RECORDINGS, _RECORDINGS[:1]):
        _check_listed(path, recordings, format)
    alone = summarise([path], [], Rules(label_format=format))
    assert sum(label.events for label in alone.labels) == sum(row.event is not None for row in table.rows)
    return table.format


def _check_listed(path: Path, recordings: list[Recording], format: str | None) -> None:
    try:
        found = match_recordings(path, recordings, format)
    except UserError as refusal:
        _require_one_line(refusal, path)
        return
    for events in found.values():
        for rules in (Rules(), _RULES):
            try:
                line = Timeline.from_events(events, 10.0, rules)
            except UserError:
                continue
            stretches = sorted([*line.signal, *line.noise, *line.unknown])
            length = math.fsum(end - start for start, end in stretches)
            assert abs(length - 10.0) < 1e-6, f"signal, noise and unknown make {length} s of 10 s"
            assert all(one[1] <= other[0] for one, other in itertools.pairwise(stretches)), "they overlap"


def _require_sound(event: Any) -> None:
    assert 0 <= event.start <= event.end < math.inf, event
    assert isinstance(event.label, str), event
    assert event.low is None or event.high is None or 0 <= event.low <= event.high < math.inf, event
    assert event.channel is None or event.channel >= 1, event


def _require_one_line(refusal: UserError, path: Path) -> None:
    line = str(refusal)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 1500, repr(line)
