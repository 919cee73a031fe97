"""Match the rows of a label file to recordings."""

import logging
import os
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..audio import files
from ..audio.files import PathLike
from ..errors import UserError
from .event import Event, Row, Table
from .formats import read_labels

logger = logging.getLogger("partae_fast")

_ROUNDING = 1e-3  # seconds to which BirdNET rounds its times
_WINDOW = 5.0  # upper bound of BirdNET's window in seconds; its last window may pass the end of the recording


@dataclass(frozen=True)
class Recording:
    """Name, duration in seconds and rate in Hz of a recording."""

    name: str
    seconds: float
    rate: int


def match_recordings(
    path: PathLike, recordings: Sequence[PathLike | Recording], format: str | None = None
) -> dict[Path, list[Event]]:
    """Return the events of each of the recordings that the label file `path` lists.

    A listed recording without events has an empty list; a recording that is missing from the result is unlisted.

    A row that names a recording is matched to the recording with that path, absolute or relative to the working folder
    or to the label file's folder. If there is none, it is matched to the recording whose path ends in the most of the
    same folders and the same name, then to the same name with another suffix. Rows that match no recording are logged.

    A label file that names no recording, such as an Audacity track, is matched to the only recording, or, if there are
    several, to the one with its name: spinetail.audacity.txt and spinetail.txt belong to spinetail.flac.

    Args:
        path: a label file.
        recordings: paths, or `Recording` objects if the headers have been read or the audio is in memory.
        format: one of `FORMATS`; None detects it by content.

    Raises UserError if the file is malformed, if it lists none of the recordings, and if a match is ambiguous.
    """
    by_path = {Path(r.name if isinstance(r, Recording) else r): r for r in recordings}
    table = read_labels(path, format)
    names = {row.recording for row in table.rows}
    if names <= {None}:
        recording = _recording_named_like(Path(path), [*by_path])
        if len(by_path) > 1:
            logger.info("%s: labels %s; the other recordings are unknown, not noise", path, recording)
        return {recording: _events(path, table, {recording: table.rows}, by_path)[recording]}
    if None in names:
        raise UserError(f"{path}: only some rows name a recording; name one in every row")
    matches = match_names([str(name) for name in names], [*by_path], Path(path))
    rows: dict[Path, list[Row]] = {}
    for row in table.rows:
        if row.recording in matches:
            rows.setdefault(matches[row.recording], []).append(row)
    _check_matches(path, table, matches, [*by_path])
    return _events(path, table, rows, by_path)


def _recording_named_like(path: Path, recordings: list[Path]) -> Path:
    """Return the recording that a label file without names of recordings belongs to."""
    if len(recordings) == 1:
        return recordings[0]
    name = composed(path.name)
    candidates = [recording for recording in recordings if name.startswith(composed(recording.stem) + ".")]
    longest = max((len(recording.stem) for recording in candidates), default=0)
    candidates = [recording for recording in candidates if len(recording.stem) == longest]
    folder = os.path.abspath(path.parent)
    in_same_folder = [recording for recording in candidates if os.path.abspath(recording.parent) == folder]
    candidates = in_same_folder if len(in_same_folder) == 1 else candidates
    if len(candidates) != 1:
        raise UserError(
            f"{path}: {len(candidates)} of the {len(recordings)} recordings have its name, and it "
            "belongs to one; name the label file after its recording, or pass that recording alone"
        )
    return candidates[0]


def composed(name: str) -> str:
    """Return a name with composed characters (NFC); macOS and some disks decompose them in the names of files."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def match_names(names: Iterable[str], recordings: Sequence[Path], path: Path) -> dict[str | None, Path]:
    """Return the recording of each name in the label file `path`, without the names that match none.

    Raises UserError if a name may mean several recordings, or several names may mean one.
    """
    by_name: dict[str, list[Path]] = {}
    for recording in recordings:
        # "/" marks stems, because no name ends in it.
        for key in {composed(recording.name), composed(recording.stem) + "/"}:
            by_name.setdefault(key, []).append(recording)
    absolute = {recording: composed(os.path.abspath(recording)) for recording in recordings}
    folders = {recording: Path(absolute[recording]).parent.parts for recording in recordings}
    claims: dict[Path, list[_Claim]] = {}
    for name in sorted(names):
        pure = PurePosixPath(composed(name).replace("\\", "/"))
        candidates = by_name.get(pure.name) or by_name.get(pure.name + "/") or by_name.get(pure.stem + "/") or []
        absolute_paths = {composed(os.path.abspath(folder / pure)) for folder in (Path(), path.parent)}
        exact = [candidate for candidate in candidates if absolute[candidate] in absolute_paths]
        common = {c: _common_folders(pure.parent.parts, folders[c]) for c in exact or candidates}
        best = [candidate for candidate, count in common.items() if count == max(common.values())]
        if len(best) > 1:
            raise UserError(
                f"{path}: {name} may mean {best[0]} or {best[1]}; write enough of the path to distinguish them"
            )
        for candidate in best:
            complete = bool(exact) or common[candidate] == len(pure.parent.parts)
            claims.setdefault(candidate, []).append(_Claim(name, common[candidate], complete))
    return {name: recording for recording in claims for name in _best_names(claims[recording], recording, path)}


@dataclass(frozen=True)
class _Claim:
    """A name in a label file that may mean a recording.

    `common_folders` counts the innermost folders that both paths share; `complete` is true if these are all folders of
    the name.
    """

    name: str
    common_folders: int
    complete: bool


def _common_folders(folders: Sequence[str], others: Sequence[str]) -> int:
    """Return how many folders of two paths are equal, counted from the innermost."""
    pairs = zip(reversed(folders), reversed(others), strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(folders), len(others)))


def _best_names(claims: list[_Claim], recording: Path, path: Path) -> list[str]:
    """Return the names that mean the recording: all that match completely, or else the best one.

    If a table lists site1/a.wav and site2/a.wav and only one of them is a recording, the other is not matched to it.
    """
    complete = [claim.name for claim in claims if claim.complete]
    if complete:
        return complete
    most = max(claim.common_folders for claim in claims)
    best = [claim.name for claim in claims if claim.common_folders == most]
    # Windows writes the suffix of one file now in small letters, now in capitals.
    if len({name.removesuffix(suffix := PurePosixPath(name).suffix) + suffix.lower() for name in best}) > 1:
        raise UserError(
            f"{path}: {best[0]} and {best[1]} may both mean {recording}; move the recording to a folder of the same "
            "name, or remove the rows of the other"
        )
    return best


def _check_matches(path: PathLike, table: Table, matches: dict[str | None, Path], recordings: Sequence[Path]) -> None:
    """Log unmatched rows and unlisted recordings; raise UserError if nothing matches."""
    unmatched = sorted({str(row.recording) for row in table.rows} - {str(name) for name in matches})
    if not matches:
        raise UserError(
            f"{path}: lists none of the {len(recordings)} recordings: it names {_first_two(unmatched)}, and the "
            f"recordings are {_first_two(map(str, recordings))}"
        )
    if unmatched:
        count = sum(row.recording not in matches for row in table.rows)
        logger.info("%s: rows about other recordings: %d, of %s", path, count, _first_two(unmatched))
    listed = {*matches.values()}
    unlisted = [str(recording) for recording in recordings if recording not in listed]
    if unlisted:
        logger.info("%s: does not list %s: unknown, not noise", path, _first_two(unlisted))


def _first_two(names: Iterable[str]) -> str:
    """Return the first two names and the number of the others, as text."""
    names = list(names)
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _events(
    path: PathLike, table: Table, rows: dict[Path, list[Row]], by_path: dict[Path, PathLike | Recording]
) -> dict[Path, list[Event]]:
    """Return the events of each recording, with times in seconds within it."""
    events: dict[Path, list[Event]] = {recording: [] for recording in rows}
    cut_windows = 0
    for recording, recording_rows in rows.items():
        for row in recording_rows:
            if row.event is None:
                continue
            event = row.event
            if table.samples:
                rate = _header(by_path[recording]).rate
                event = event._replace(start=event.start / rate, end=event.end / rate)
            elif table.format == "birdnet":
                whole = event
                event = _cut_last_window(event, _header(by_path[recording]).seconds)
                cut_windows += event is not whole
            elif row.last not in (None, row.recording):
                event, overrun = _split_at_end(event, _header(by_path[recording]).seconds)
                if overrun:
                    others = [other for other in by_path if other != recording]
                    for following in match_names([str(row.last)], others, Path(path)).values():
                        events.setdefault(following, []).append(overrun)
            events[recording].append(event)
    if cut_windows:
        logger.warning(
            "%s: %d detections in the last window pass the end of their recording and are cut there", path, cut_windows
        )
    return events


def _header(recording: PathLike | Recording) -> Recording:
    if isinstance(recording, Recording):
        return recording
    header = files.info(recording)
    return Recording(str(recording), header.seconds, header.rate)


def _cut_last_window(event: Event, seconds: float) -> Event:
    """Cut a detection of BirdNET at the end of the recording, if it is in the last window, padded with silence."""
    if event.start < seconds < event.end - _ROUNDING and event.end <= event.start + _WINDOW:
        return event._replace(end=seconds)
    return event


def _split_at_end(event: Event, seconds: float) -> tuple[Event, Event | None]:
    """Split an event that continues into the next file; return both parts, the second in that file's time."""
    if event.end <= seconds or event.start > seconds:
        return event, None
    return event._replace(end=seconds), event._replace(start=0.0, end=event.end - seconds)
