"""Numba for the CPU kernels: serial functions that release the GIL, cached by the sources of all kernels.

Numba trusts the files in its cache. A crash, a failing disk or a full disk may damage them, which ends in an error of
`pickle` or in wrong machine code. So each cache file ends in a checksum, which Numba does not read, and a kernel whose
file is damaged is compiled again.
"""

import contextlib
import functools
import hashlib
import io
import logging
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

logger = logging.getLogger("partae_fast")

KERNELS = Path(__file__).resolve().parents[1]  # the sources that a compiled kernel may depend on

# Sums may be reordered and fused, so that dot products become vector code. No other part of fast-math: NaN and infinity
# keep their meaning, and a test for NaN is not optimized away.
FASTMATH = {"reassoc", "contract", "nsz"}


def digest_of_sources(folder: Path) -> str:
    """Return a digest of all Python files in a folder and below it."""
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> str:
    """Return the folder of compiled kernels, one for each state of the sources.

    Numba compares only the file of the function itself, and so misses an edit of a helper in another file.

    A file of the cache is code that this process runs. So the folder must belong to this user and is made writable by
    no one else; if it is another user's, kernels are compiled into a temporary folder, once per process.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partae_fast"
    folder = base / digest_of_sources(KERNELS)
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        for part in (base, folder):
            part.mkdir(mode=0o700, exist_ok=True)
            if not _make_private(part):
                logger.warning(
                    "%s: belongs to another user, so kernels are compiled again by each process; set XDG_CACHE_HOME to "
                    "a folder of your own",
                    part,
                )
                return tempfile.mkdtemp(prefix="partae_fast_")
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:  # the home folder is not writable: compile once per process
        return tempfile.mkdtemp(prefix="partae_fast_")


def _make_private(folder: Path) -> bool:
    """Let no one else write into a folder; return False if it is a link or belongs to another user."""
    state = folder.lstat()
    if not (stat.S_ISDIR(state.st_mode) and _is_own(state)):
        return False
    if state.st_mode & 0o022:
        folder.chmod(0o700)
    return True


def _is_own(state: os.stat_result) -> bool:
    # On Windows the cache is in the user's own profile.
    return not hasattr(os, "geteuid") or state.st_uid == os.geteuid()


class _CheckedFiles(IndexDataCacheFile):
    """The cache files of one function: an index of its signatures, and the machine code of each."""

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + _digest(content.getvalue()))

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if _intact(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _intact(self._data_path(name)):
            raise FileNotFoundError  # Numba then compiles the function and saves it
        return super()._load_data(name)

    def save(self, key: Any, data: Any) -> None:
        try:
            super().save(key, data)
        except OSError as error:
            logger.warning("%s: the compiled kernel is not cached: %s", self._cache_path, error.strerror)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _intact(path: str) -> bool:
    """Return whether a file exists, is this user's, and ends in the checksum of its content.

    Logs a warning if it is damaged.
    """
    try:
        with open(path, "rb") as file:
            if not _is_own(os.fstat(file.fileno())):
                return False
            content = file.read()
    except OSError:
        return False
    intact = _digest(content[:-32]) == content[-32:]
    if not intact:
        logger.warning("%s: damaged; the kernel is compiled again", path)
    return intact


def kernel(function: Callable) -> Callable:
    """Compile `function` on its first call for the types it meets; a later process loads it from the cache."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()  # Numba reads it while decorating, and has no argument for it
    try:
        # Without a wrapper for calls from C, which nothing makes, a kernel compiles in about five sixths of the time.
        options = {"nogil": True, "cache": True, "error_model": "numpy", "no_cfunc_wrapper": True}
        compiled = numba.njit(fastmath=FASTMATH, **options)(function)
    finally:
        numba.config.CACHE_DIR = before
    cache, impl = compiled._cache, compiled._cache._impl
    cache._cache_file = _CheckedFiles(cache.cache_path, impl.filename_base, impl.locator.get_source_stamp())
    return compiled
