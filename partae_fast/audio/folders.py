"""Recordings in a folder and in the folders below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from .files import PathLike

# What libsndfile reads, but for what has no header or is seldom audio (.raw, .mat, .htk). Files with other suffixes
# that lie among the recordings (labels, notes, pictures) are passed over.
# fmt: off
SUFFIXES = frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".flac", ".ogg", ".oga", ".opus",
    ".mp3", ".mp2", ".au", ".snd", ".avr", ".voc", ".sph", ".nist", ".sds", ".sd2", ".paf", ".pvf", ".svx",
    ".8svx", ".iff", ".ircam", ".sf", ".wve",
))
# fmt: on

Identity = tuple[int, int]


class Recordings:
    """Iterate over every recording below a folder, by name; hidden files are passed over, links are followed.

    Args:
        folder: to search. skip: a folder below it that is passed over.

    After the iteration `unreadable` has a message for each folder that cannot be read, and `ignored` is the number of
    files that are no recordings.
    """

    def __init__(self, folder: PathLike, skip: PathLike | None = None) -> None:
        self._folder, self._skip = Path(folder), None if skip is None else _identity(Path(skip))
        self.unreadable: dict[Path, str] = {}
        self.ignored = 0

    def __iter__(self) -> Iterator[Path]:
        return self._visit(self._folder, (_identity(self._folder),))

    def _visit(self, folder: Path, above: tuple[Identity | None, ...]) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self.unreadable[folder] = (
                f"{folder}: the folder cannot be read: {error.strerror}; change its mode or leave it out"
            )
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                identity = _identity(path)
                # A link to a folder that it lies in would never end.
                if identity not in (*above, self._skip):
                    yield from self._visit(path, (*above, identity))
            elif path.suffix.lower() in SUFFIXES and (entry.is_file() or entry.is_symlink()):
                yield path
            else:
                self.ignored += 1


def recordings_in(folder: PathLike) -> list[Path]:
    """Return every recording in a folder and the folders below it, by name; hidden ones are passed over.

    Raises UserError where there is none, or a folder cannot be read.
    """
    recordings = Recordings(folder)
    paths = list(recordings)
    for message in recordings.unreadable.values():
        raise UserError(message)
    if not paths:
        raise UserError(f"{folder}: no recordings there; audio files end in .wav, .flac ...")
    return paths


def _identity(path: Path) -> Identity | None:
    """Return what tells a folder from others, whatever its name."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
