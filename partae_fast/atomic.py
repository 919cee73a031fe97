"""Files that are either whole or not there: written beside their place, then renamed into it.

A writer that is killed leaves its temporary file behind. While it lives it holds a lock on that file, so whoever
writes into the same folder next can tell what is abandoned, and removes it.
"""

import contextlib
import functools
import hashlib
import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from .errors import USER_ERRNOS, UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

# .NAME.MACHINE-RANDOM.partial.SUFFIX
_TEMPORARY = re.compile(r"\..*\.([0-9a-f]{8})-[0-9a-f]{8}\.partial(\.[^.]*)?", re.DOTALL)
_DAY = 86400  # seconds; a writer that has written nothing for so long is gone


def check_writable(target: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """The real place of `target`, where a file can be written there.

    Raises UserError where its folder is missing, the target is no plain file, or it exists and `overwrite` is
    false. A long job calls this first, so that it does not end with nowhere to put its result.
    """
    place = Path(os.path.realpath(target))  # a link stays a link; the file behind it is replaced
    if not os.path.isdir(place.parent):  # which is false too where a folder above it may not be entered
        raise UserError(f"{target}: the folder {place.parent} does not exist; create it or write elsewhere")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UserError(f"{target}: the folder {place.parent} cannot be written; choose another")
    if not os.path.lexists(place):
        return place
    if not os.path.isfile(place):
        raise UserError(f"{target}: not a plain file, so it cannot be replaced; choose another name")
    if not overwrite:
        raise UserError(f"{target}: exists already; choose another name or ask for it to be overwritten")
    return place


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """A temporary path in `target`'s folder, with its suffix; it becomes `target` when the block ends.

    On success the file is flushed to the disk and renamed, so that a reader, a crash or a power cut sees the
    old file or the new one. Where the block raises, the temporary file is removed and `target` is as it was. Of
    several writers at once the last to end has its file there, whole. The first time that a process writes into a
    folder it removes what killed writers left there, see `remove_abandoned`.

    Raises UserError as `check_writable` does, and where the disk is full or refuses the file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with atomic_path(folder.name + "/note.txt") as path:
    ...     _ = path.write_text("whole")
    >>> os.listdir(folder.name)
    ['note.txt']
    """
    place = check_writable(target, overwrite)
    _remove_abandoned_once(place.parent)
    temporary, handle = None, None
    try:
        temporary, handle = _create_beside(place)
        yield temporary
        check_writable(target, overwrite)
        _flush(temporary)
        os.replace(temporary, place)
        with contextlib.suppress(OSError):  # the file is there; not every file system can flush a folder
            _flush(place.parent)
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def remove_abandoned(folder: str | os.PathLike[str]) -> int:
    """Remove from `folder`, not from those in it, the temporary files of writers that were killed; returns how many.

    What a living writer holds locked stays, of this process or another. A folder on a network may be written to by
    machines whose locks do not reach here: their files, and all where there are no locks, go a day after they were
    last written to. Whatever cannot be removed stays, without an error.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(entry.path, match[1]) for entry in entries if (match := _TEMPORARY.fullmatch(entry.name))]
    except OSError:
        return 0
    return sum(_remove_if_abandoned(path, machine) for path, machine in found)


@functools.cache
def _remove_abandoned_once(folder: Path) -> None:
    remove_abandoned(folder)


@functools.cache
def _this_machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _create_beside(place: Path) -> tuple[Path, int | None]:
    """An empty temporary file for `place`, and the handle that keeps it locked until it is closed."""
    while True:
        name = f".{place.stem[:40]}.{_this_machine()}-{secrets.token_hex(4)}.partial{place.suffix}"
        temporary = place.with_name(name)
        # Created here, not by tempfile, so that the file gets the user's own permissions.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl is None:
            os.close(handle)
            return temporary, None
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # swept before it was locked


def _remove_if_abandoned(path: str, machine: str) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            held = _is_locked(handle)
            if held is None or (machine != _this_machine() and not held):
                held = time.time() - os.fstat(handle).st_mtime < _DAY
            if not held:
                os.unlink(path)
            return not held
        finally:
            os.close(handle)
    except OSError:
        return False


def _is_locked(handle: int) -> bool | None:
    """Whether a living writer holds the file, None where locks do not tell; it is locked by us if it was by no one."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    return False


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
