"""Atomic writing of files: a temporary file is written and then renamed.

A writer holds a lock on its temporary file. A file without a lock was left by a killed process, and the next writer in
that folder removes it.
"""

import contextlib
import errno
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
_TEMPORARY_NAME = re.compile(r"\..*\.([0-9a-f]{8})-[0-9a-f]{8}\.partial(\.[^.]*)?", re.DOTALL)
_DAY = 86400  # seconds; without a lock to test, a file that was not written to for a day is abandoned


def check_writable(target: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Check that a file can be written to `target`, and return its resolved path.

    Call this before a long job, so that the job does not fail at its end because it cannot write its result.

    Raises UserError if the folder is missing or read-only, if `target` is not a regular file, or if it exists and
    `overwrite` is false.
    """
    path = Path(os.path.realpath(target))  # a symbolic link is kept, and the file that it points to is replaced
    if not os.path.isdir(path.parent):  # also false if a parent folder may not be entered
        raise UserError(f"{target}: the folder {path.parent} does not exist; create it or write elsewhere")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"{target}: the folder {path.parent} cannot be written; choose another folder")
    if not os.path.lexists(path):
        return path
    if not os.path.isfile(path):
        raise UserError(f"{target}: not a plain file, so it cannot be replaced; choose another name")
    if not overwrite:
        raise UserError(f"{target}: exists already; choose another name or allow overwriting")
    return path


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """Yield a temporary path, which is renamed to `target` when the block ends.

    The temporary path has the suffix of `target`. The file is flushed to disk before it is renamed, so that after a
    crash or a power cut either the old file or the complete new file is there. If the block raises, the temporary file
    is removed and `target` is unchanged. If several processes write the same target, the last one to finish wins. The
    first time a process writes into a folder, it calls `remove_abandoned` on it.

    Raises UserError as `check_writable` does, and if the disk is full or the file system refuses the file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with atomic_path(folder.name + "/note.txt") as path:
    ...     _ = path.write_text("complete")
    >>> os.listdir(folder.name)
    ['note.txt']
    """
    path = check_writable(target, overwrite)
    _remove_abandoned_once(path.parent)
    temporary, handle = None, None
    try:
        temporary, handle = _create_temporary(path)
        yield temporary
        check_writable(target, overwrite)
        _flush(temporary)
        os.replace(temporary, path)
        with contextlib.suppress(OSError):  # not every file system can flush a folder; the file itself is written
            _flush(path.parent)
    except OSError as error:
        # A folder can vanish, as that of a card that is pulled out, and some refuse all files in this way (/proc).
        if error.errno not in USER_ERRNOS and (error.errno != errno.ENOENT or temporary is not None):
            raise
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        if handle is not None:
            os.close(handle)


def remove_abandoned(folder: str | os.PathLike[str]) -> int:
    """Remove the temporary files of killed writers; return their number.

    Subfolders are not searched. A file that a running writer of any process has locked is kept. A file from another
    machine, or on a file system without locks, is removed if it was last written more than a day ago, because its lock
    cannot be tested. Files that cannot be removed are kept, without an error.
    """
    try:
        with os.scandir(folder) as entries:
            files = [(entry.path, match[1]) for entry in entries if (match := _TEMPORARY_NAME.fullmatch(entry.name))]
    except OSError:
        return 0
    return sum(_remove_if_abandoned(path, machine) for path, machine in files)


@functools.cache
def _remove_abandoned_once(folder: Path) -> None:
    remove_abandoned(folder)


@functools.cache
def this_machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def _create_temporary(path: Path) -> tuple[Path, int | None]:
    """Create a locked temporary file beside `path`; return it and its handle."""
    while True:
        name = f".{path.stem[:40]}.{this_machine()}-{secrets.token_hex(4)}.partial{path.suffix}"
        temporary = path.with_name(name)
        # os.open, not tempfile, so that the file gets the permissions of the user's umask.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if fcntl is None:
            os.close(handle)
            return temporary, None
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, handle
        os.close(handle)  # another process removed the file before it was locked


def _remove_if_abandoned(path: str, machine: str) -> bool:
    try:
        handle = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        try:
            in_use = is_locked(handle)
            if in_use is None or (machine != this_machine() and not in_use):
                in_use = time.time() - os.fstat(handle).st_mtime < _DAY
            if not in_use:
                os.unlink(path)
            return not in_use
        finally:
            os.close(handle)
    except OSError:
        return False


def is_locked(handle: int) -> bool | None:
    """Return whether a running writer has locked the file; None without locks.

    A file that nobody had locked is locked by this process afterwards.
    """
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
