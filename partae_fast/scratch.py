"""Temporary folders that are removed at their end, or, if their process was killed, by the next one.

A process holds a lock on a file in its folder. A folder whose lock is free was left by a process that no longer runs.
"""

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

from .atomic import is_locked, this_machine

_LOCK = ".lock"

PathLike = str | os.PathLike[str]


class ScratchFolder(tempfile.TemporaryDirectory[str]):
    """Temporary folder `PREFIXmachine-random` in `parent`, by default in the system's folder for temporary files.

    It exists until `cleanup`, or until the object is gone.
    """

    def __init__(self, prefix: str, parent: PathLike | None = None) -> None:
        while True:
            super().__init__(prefix=f"{prefix}{this_machine()}-", dir=parent)
            self._lock = open(Path(self.name, _LOCK), "wb")  # noqa: SIM115 (closed with the object)
            is_locked(self._lock.fileno())  # locks it
            if Path(self.name, _LOCK).exists():
                return
            # Another process removed the folder before the lock was held.
            self._lock.close()
            self.cleanup()


def remove_abandoned_folders(prefix: str, parent: PathLike | None = None) -> int:
    """Remove scratch folders that killed processes of this user and machine left in `parent`; return their number.

    A folder is kept if a running process has it locked, if it belongs to another user, and on file systems without
    locks.
    """
    try:
        with os.scandir(parent or tempfile.gettempdir()) as entries:
            folders = [entry.path for entry in entries if entry.name.startswith(f"{prefix}{this_machine()}-")]
    except OSError:
        return 0
    return sum(map(_remove_if_abandoned, folders))


def _remove_if_abandoned(folder: str) -> bool:
    with contextlib.suppress(OSError):
        state = os.lstat(folder)
        if not stat.S_ISDIR(state.st_mode) or (hasattr(os, "getuid") and state.st_uid != os.getuid()):
            return False
        lock = os.open(os.path.join(folder, _LOCK), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
        try:
            if is_locked(lock) is False:
                shutil.rmtree(folder, ignore_errors=True)
                return not os.path.lexists(folder)
        finally:
            os.close(lock)
    return False
