"""Of which of the recordings that were given the rows of a label file are."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from ..audio import files
from ..audio.files import PathLike
from ..errors import UserError
from .event import Event, Row, Table
from .formats import read_labels

logger = logging.getLogger("partae_fast")

_WINDOW = 5.0  # seconds that BirdNET looks at at a time, at most; its last window may pass the recording's end


@dataclass(frozen=True)
class Recording:
    """A recording that was given, by its name, with what its header says of its length and its rate in Hz."""

    name: str
    seconds: float
    rate: int


def listed(
    path: PathLike, recordings: Sequence[PathLike | Recording], format: str | None = None
) -> dict[Path, list[Event]]:
    """The recordings that the label file `path` speaks for, each with its events; one left out is unknown.

    Rows that name a recording are of the one with that path, as it stands or seen from the label file's folder; else of
    the one whose path ends in the same folders and name; else of the one with that name, whatever its folder and, at
    last, its suffix. Rows of recordings that were not given are counted in the log.

    A file that names no recording, such as an Audacity track, speaks for the only one given; of several, for its
    namesake: spinetail.audacity.txt or spinetail.txt for spinetail.flac.

    Args:
        recordings: paths, or `Recording`s where the headers were read already or there are no files.
        format: one of `FORMATS`; by default what the content shows.

    Raises UserError where the file is malformed, where it speaks for none of the recordings, and where it is not clear
    for which.
    """
    given = {Path(r.name if isinstance(r, Recording) else r): r for r in recordings}
    table = read_labels(path, format)
    names = {row.recording for row in table.rows}
    if names <= {None}:
        place = _namesake(Path(path), [*given])
        if len(given) > 1:
            logger.info("%s: labels %s; the other recordings are unknown, not noise", path, place)
        return {place: _settled(path, table, {place: table.rows}, given)[place]}
    if None in names:
        raise UserError(f"{path}: some rows name a recording and some do not; name it in each")
    found = matched([str(name) for name in names], [*given], Path(path))
    rows: dict[Path, list[Row]] = {}
    for row in table.rows:
        if row.recording in found:
            rows.setdefault(found[row.recording], []).append(row)
    _tell(path, table, found, given)
    return _settled(path, table, rows, given)


def _namesake(path: Path, given: list[Path]) -> Path:
    """The recording that a label file which names none is about."""
    if len(given) == 1:
        return given[0]
    named = [recording for recording in given if path.name.startswith(recording.stem + ".")]
    longest = max((len(recording.stem) for recording in named), default=0)
    named = [recording for recording in named if len(recording.stem) == longest]
    beside = [recording for recording in named if os.path.abspath(recording.parent) == os.path.abspath(path.parent)]
    named = beside if len(beside) == 1 else named
    if len(named) != 1:
        raise UserError(
            f"{path}: {len(named)} of the {len(given)} recordings have its name, and labels are for "
            "one; name the label file as its recording, or give that recording alone"
        )
    return named[0]


def matched(names: Iterable[str], given: Sequence[Path], path: Path) -> dict[str | None, Path]:
    """Which of the recordings `given` each name in the label file `path` means; a name of none of them is left out.

    Raises UserError where a name may mean several, or several names one.
    """
    by_name: dict[str, list[Path]] = {}
    for recording in given:
        for key in {recording.name, recording.stem + "/"}:  # no name ends in "/"
            by_name.setdefault(key, []).append(recording)
    folders = {recording: Path(os.path.abspath(recording)).parent.parts for recording in given}
    meant: dict[Path, list[tuple[int, bool, str]]] = {}  # how many folders agree, and whether all do
    for name in sorted(names):
        pure = PurePosixPath(name.replace("\\", "/"))
        candidates = by_name.get(pure.name) or by_name.get(pure.name + "/") or by_name.get(pure.stem + "/") or []
        exact = [c for c in candidates if os.path.abspath(c) in _places(pure, path)]
        agreeing = {c: _agreeing(pure.parent.parts, folders[c]) for c in exact or candidates}
        best = [c for c, count in agreeing.items() if count == max(agreeing.values())]
        if len(best) > 1:
            raise UserError(
                f"{path}: {name} may mean {best[0]} or {best[1]}; write as much of the path as tells them apart"
            )
        for c in best:
            whole = bool(exact) or agreeing[c] == len(pure.parent.parts)
            meant.setdefault(c, []).append((agreeing[c], whole, name))
    return {name: c for c, claims in meant.items() for name in _strongest(claims, c, path)}


def _places(pure: PurePosixPath, path: Path) -> set[str]:
    """Where a path that stands in a label file may lead: as it is, or from the label file's folder."""
    return {os.path.abspath(pure), os.path.abspath(path.parent / pure)}


def _agreeing(folders: Sequence[str], others: Sequence[str]) -> int:
    """How many folders are the same, from the innermost outwards."""
    pairs = zip(reversed(folders), reversed(others), strict=False)
    return next((count for count, (one, other) in enumerate(pairs) if one != other), min(len(folders), len(others)))


def _strongest(claims: list[tuple[int, bool, str]], recording: Path, path: Path) -> list[str]:
    """Of the names that may mean a recording, those that do: all whose whole path agrees, else the best of them.

    Where site1/a.wav and site2/a.wav are listed and only one of them is given, the other is not taken for it.
    """
    if any(whole for _, whole, _ in claims):
        return [name for _, whole, name in claims if whole]
    most = [name for count, _, name in claims if count == max(count for count, _, _ in claims)]
    if len(most) > 1:
        raise UserError(
            f"{path}: {most[0]} and {most[1]} may both mean {recording}; give the recording in a folder of the same "
            "name, or remove the rows of the other"
        )
    return most


def _tell(path: PathLike, table: Table, found: dict[str | None, Path], given: dict) -> None:
    """Log what of the table was not given, and what given was not listed; raise UserError where nothing fits."""
    others = sorted({str(row.recording) for row in table.rows} - {str(name) for name in found})
    if not found:
        raise UserError(
            f"{path}: it is about none of the {len(given)} recordings given: it names {_some(others)}; "
            f"given were {_some(map(str, given))}"
        )
    if others:
        count = sum(row.recording not in found for row in table.rows)
        logger.info("%s: rows about recordings that were not given: %d, of %s", path, count, _some(others))
    told = {*found.values()}
    unlisted = [str(recording) for recording in given if recording not in told]
    if unlisted:
        logger.info("%s: does not list %s: unknown, not noise", path, _some(unlisted))


def _some(names: Iterable[str]) -> str:
    """Two of the names, and how many more there are."""
    names = list(names)
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _settled(
    path: PathLike, table: Table, rows: dict[Path, list[Row]], given: dict[Path, PathLike | Recording]
) -> dict[Path, list[Event]]:
    """The events of each recording, at their times in it, in seconds."""
    events: dict[Path, list[Event]] = {place: [] for place in rows}
    for place, its in rows.items():
        for row in its:
            if row.event is None:
                continue
            event = row.event
            if table.samples:
                rate = _header(given[place]).rate
                event = replace(event, start=event.start / rate, end=event.end / rate)
            elif table.format == "birdnet":
                event = _within_window(event, _header(given[place]).seconds)
            elif row.last not in (None, row.recording):
                event = _first_part(row, event, place, events, given, Path(path))
            events[place].append(event)
    return events


def _header(recording: PathLike | Recording) -> Recording:
    if isinstance(recording, Recording):
        return recording
    about = files.info(recording)
    return Recording(str(recording), about.seconds, about.rate)


def _within_window(event: Event, seconds: float) -> Event:
    """A detection in the last window, which BirdNET fills up with silence, cut at the recording's end."""
    if event.start < seconds < event.end <= event.start + _WINDOW:
        return replace(event, end=seconds)
    return event


def _first_part(
    row: Row,
    event: Event,
    place: Path,
    events: dict[Path, list[Event]],
    given: dict[Path, PathLike | Recording],
    path: Path,
) -> Event:
    """Of an event that runs on into the next file of a sequence, the part in its own; the other goes to the other's."""
    seconds = _header(given[place]).seconds
    if event.end <= seconds or event.start > seconds:
        return event
    following = matched([str(row.last)], [recording for recording in given if recording != place], path)
    for other in following.values():
        events.setdefault(other, []).append(replace(event, start=0.0, end=event.end - seconds))
    return replace(event, end=seconds)
