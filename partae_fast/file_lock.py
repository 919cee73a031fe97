"""One writer of a file at a time, by a lock that ends with the process that holds it."""

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
    """Keep other processes out of a block with the same `target`, a file that need not exist yet.

    The lock is on a file beside it, .NAME.lock, which is removed at the end. A file that a killed process left behind
    locks nothing. Where the file system has no locks, as on some networks, the log says so and the block runs without.

    refusal: returns the message of the error where another process holds `target`.

    Raises UserError where another process holds `target`, or where its folder cannot be written.
    """
    place = check_writable(target)
    path = place.with_name(f".{place.name}.lock")
    lock = _acquired(path, target, refusal)
    try:
        yield
    finally:
        if lock is not None:
            with contextlib.suppress(OSError):  # Windows removes no file that is open
                path.unlink()
            lock.release()


def _acquired(path: Path, target: str | os.PathLike[str], refusal: Callable[[], str] | None) -> "BaseFileLock | None":
    """Return the lock on `path`; None where there are no locks."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, thread_local=False)
    while True:
        try:
            path.touch()
            before = path.stat()
            lock.acquire(blocking=False)
        except FileNotFoundError:  # removed by its holder after `touch`
            continue
        except Timeout:
            message = f"{target}: another process is writing it; wait for its end, or choose another name"
            raise UserError(refusal() if refusal else message) from None
        except PermissionError as error:
            raise UserError(
                f"{path}: the lock of another user; remove it if no process of theirs is running"
            ) from error
        except (OSError, NotImplementedError) as error:
            logger.warning("%s: cannot be locked (%s); check that nothing else writes it", target, error)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(before, path.stat()):
                return lock
        lock.release()  # its holder removed the file before we had the lock
