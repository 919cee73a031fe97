"""One writer at a time: a lock that goes with the process that holds it, however that ends."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from .atomic import check_writable
from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def only_writer(target: str | os.PathLike[str]) -> Iterator[None]:
    """While the block lasts no other process gets here with the same `target`, a file that need not exist yet.

    The lock is on a file beside it, .NAME.lock, which is removed at the end. One that a killed process has left locks
    nothing. Where the file system has no locks, as on some networks, nothing is locked.

    Raises UserError where another process holds `target`, or its folder cannot be written.
    """
    place = check_writable(target)
    if fcntl is None:
        yield
        return
    lock = place.with_name(f".{place.name}.lock")
    handle = _locked(lock, target)
    try:
        yield
    finally:
        if handle is not None:
            lock.unlink(missing_ok=True)
            os.close(handle)


def _locked(lock: Path, target: str | os.PathLike[str]) -> int | None:
    """The handle that holds the lock; None where there are no locks."""
    assert fcntl is not None
    while True:
        handle = os.open(lock, os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"{target}: another process is writing it; wait for its end, or choose another name"
            ) from None
        except OSError:
            os.close(handle)
            lock.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        os.close(handle)  # the one before removed it between the two lines above
