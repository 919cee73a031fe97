"""Find the recordings in a folder and its subfolders."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError
from . import phones
from .files import PathLike, info

logger = logging.getLogger("partae_fast")

# Suffixes of the formats that libsndfile reads, except those without a header and those that are seldom audio (.raw,
# .mat, .htk), and of those of phones. Files with other suffixes (labels, notes, pictures) are ignored.
# fmt: off
SUFFIXES = phones.SUFFIXES | frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".flac", ".ogg", ".oga", ".opus",
    ".mp3", ".mp2", ".au", ".snd", ".avr", ".voc", ".sph", ".nist", ".sds", ".sd2", ".paf", ".pvf", ".svx",
    ".8svx", ".iff", ".ircam", ".sf", ".wve",
))
# fmt: on

Identity = tuple[int, int]  # device and inode


class Recordings:
    """Iterable over the recordings in a folder and its subfolders, by name.

    Hidden files and folders are ignored; links are followed. A path with the suffix of a recording is yielded whatever
    it is, for example a link that points to itself, so that the caller names what it cannot read.

    Args:
        folder: folder to search.
        skip: subfolder to leave out.

    After the iteration, `unreadable` has a message for each folder and link that cannot be read, and `ignored` is the
    number of files that are not recordings.
    """

    def __init__(self, folder: PathLike, skip: PathLike | None = None) -> None:
        self._folder, self._skip = Path(folder), None if skip is None else _identity(Path(skip))
        self.unreadable: dict[Path, str] = {}
        self.ignored = 0

    def __iter__(self) -> Iterator[Path]:
        return self._visit(self._folder, (_identity(self._folder),))

    def _visit(self, folder: Path, ancestors: tuple[Identity | None, ...]) -> Iterator[Path]:
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
            try:
                is_folder = entry.is_dir()
            except OSError as error:  # for example a link that points to itself
                if path.suffix.lower() in SUFFIXES:
                    yield path
                else:
                    self.unreadable[path] = f"{path}: cannot be read: {error.strerror}; repair or remove it"
                continue
            if is_folder:
                identity = _identity(path)
                # A link to an ancestor would be followed for ever.
                if identity not in (*ancestors, self._skip):
                    yield from self._visit(path, (*ancestors, identity))
            elif path.suffix.lower() in SUFFIXES:
                yield path
            else:
                self.ignored += 1


def recordings_in(folder: PathLike) -> list[Path]:
    """Return the recordings in a folder and its subfolders, by name, without hidden ones.

    What cannot be opened as audio, such as a link that points to itself, a damaged file, or a file of a phone without
    PyAV, is left out with a warning.

    Raises UserError if there are no recordings, or the folder itself cannot be read.
    """
    recordings, paths = Recordings(folder), []
    for path in recordings:
        try:
            info(path)
        except UserError as error:
            recordings.unreadable[path] = str(error)
        else:
            paths.append(path)
    if message := recordings.unreadable.pop(Path(folder), None):
        raise UserError(message)
    for message in recordings.unreadable.values():
        logger.warning("left out: %s", message)
    if not paths:
        raise UserError(f"{folder}: no recordings there; audio files have suffixes such as .wav and .flac")
    return paths


def _identity(path: Path) -> Identity | None:
    """Return the device and inode of a folder, which are the same for all links to it; None if it has vanished."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino
