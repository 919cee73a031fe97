"""A lock that lets one process at a time write a file.

The lock ends when its process ends.
"""

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .atomic import check_writable
from .errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

logger = logging.getLogger("partae_fast")


@contextlib.contextmanager
def only_writer(target: str | os.PathLike[str], refusal: Callable[[], str] | None = None) -> Iterator[None]:
    """Run a block as the only process that writes `target`.

    The file need not exist yet.

    The lock is on a file beside `target`, .NAME.lock, which is removed at the end. A lock file that a killed process
    left behind locks nothing. On a file system without locks, such as some network drives, a warning is logged and the
    block runs unlocked.

    Args:
        target: the file to be written.
        refusal: returns the error message for the case that another process holds the lock.

    Raises UserError if another process holds the lock, or if the folder is not writable.
    """
    path = check_writable(target)
    lock_path = path.with_name(f".{path.name}.lock")
    lock = _acquire(lock_path, target, refusal)
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):  # Windows cannot remove an open file
                lock_path.unlink()
            lock.release()


def _acquire(path: Path, target: str | os.PathLike[str], refusal: Callable[[], str] | None) -> "BaseFileLock | None":
    """Return the lock on `path`, or None if the file system has no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    while True:
        try:
            if path.is_symlink():
                raise UserError(f"{path}: is a symbolic link; remove it")
            path.touch()
            before = path.stat()
            lock.acquire(blocking=False)
        except FileNotFoundError:  # the holder removed the file after `touch`
            continue
        except Timeout:
            message = f"{target}: another process is writing it; wait until it ends, or choose another name"
            raise UserError(refusal() if refusal else message) from None
        except PermissionError as error:
            raise UserError(
                f"{path}: the lock belongs to another user; remove the file if that user runs no partae process"
            ) from error
        except (OSError, NotImplementedError) as error:
            logger.warning("%s: cannot be locked (%s); make sure that no other process writes it", target, error)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(before, path.stat()):
                return lock
        lock.release()  # the previous holder removed the file before this process locked it
