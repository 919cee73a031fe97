"""Files that are either whole or not there: written beside their place, then renamed into it."""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

# Errors of the disk that the user can mend; any other is a fault of ours and is raised as it is.
_USERS_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
}


def check_writable(target: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """The real place of `target`, where a file can be written there.

    Raises UserError where its folder is missing, the target is no plain file, or it exists and `overwrite` is
    false. A long job calls this first, so that it does not end with nowhere to put its result.
    """
    place = Path(os.path.realpath(target))  # a link stays a link; the file behind it is replaced
    if not place.parent.is_dir():
        raise UserError(f"{target}: the folder {place.parent} does not exist; create it or write elsewhere")
    if not os.access(place.parent, os.W_OK | os.X_OK):
        raise UserError(f"{target}: the folder {place.parent} cannot be written; choose another")
    if not os.path.lexists(place):
        return place
    if not stat.S_ISREG(place.stat().st_mode):
        raise UserError(f"{target}: not a plain file, so it cannot be replaced; choose another name")
    if not overwrite:
        raise UserError(f"{target}: exists already; choose another name or ask for it to be overwritten")
    return place


@contextlib.contextmanager
def atomic_path(target: str | os.PathLike[str], overwrite: bool = True) -> Iterator[Path]:
    """A temporary path in `target`'s folder, with its suffix; it becomes `target` when the block ends.

    On success the file is flushed to the disk and renamed, so that a reader, a crash or a power cut sees the
    old file or the new one. Where the block raises, the temporary file is removed and `target` is as it was.

    Raises UserError as `check_writable` does, and where the disk is full or refuses the file.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> with atomic_path(folder.name + "/note.txt") as path:
    ...     _ = path.write_text("whole")
    >>> os.listdir(folder.name)
    ['note.txt']
    """
    place = check_writable(target, overwrite)
    temporary = place.with_name(f".{place.stem[:64]}.{secrets.token_hex(4)}.partial{place.suffix}")
    try:
        # Created here, not by tempfile, so that the file gets the user's own permissions.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        _flush(temporary)
        check_writable(target, overwrite)
        os.replace(temporary, place)
        _flush(place.parent)
    except OSError as error:
        if error.errno not in _USERS_ERRORS:
            raise
        raise UserError(f"{target}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
