"""Numba as the CPU kernels use it: serial functions that release the GIL, cached by the sources of all kernels.

Numba takes what is in its cache for what it put there. After a crash of the machine, on a failing disk or on a full one
it may not be: then the program would end with an error of `pickle`, or run other machine code. So each file of ours has
a checksum at its end, which Numba does not read, and whatever does not match is compiled anew.
"""

import contextlib
import functools
import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import IndexDataCacheFile

logger = logging.getLogger("partae_fast")

KERNELS = Path(__file__).resolve().parents[1]  # ops and rooms: what a compiled kernel may be made of

# Sums may be reordered and fused, which is what makes a dot product fill the vector unit. Nothing else of
# fast-math: NaN and infinity keep their meaning, so that a test for NaN is not optimised away.
FASTMATH = {"reassoc", "contract", "nsz"}


def digest_of_sources(folder: Path) -> str:
    """A name for the state of all Python files in a folder and below it."""
    digest = hashlib.sha256()
    for source in sorted(folder.rglob("*.py")):
        digest.update(source.relative_to(folder).as_posix().encode())
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> str:
    """Where compiled kernels are kept: one folder for each state of the sources.

    Numba looks only at the file that a function stands in, and so misses an edit in a helper from another file.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partae_fast"
    folder = base / digest_of_sources(KERNELS)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:  # a home that cannot be written: compile once per process
        return tempfile.mkdtemp(prefix="partae_fast_")


class _CheckedFiles(IndexDataCacheFile):
    """The cache's files of one function: an index of what it was compiled for, and the machine code of each."""

    @contextlib.contextmanager
    def _open_for_write(self, filepath: str) -> Iterator[io.BytesIO]:
        content = io.BytesIO()
        yield content
        with super()._open_for_write(filepath) as file:
            file.write(content.getvalue() + _digest(content.getvalue()))

    def _load_index(self) -> dict[Any, str]:
        return super()._load_index() if _whole(self._index_path) else {}

    def _load_data(self, name: str) -> Any:
        if not _whole(self._data_path(name)):
            raise FileNotFoundError  # which has Numba compile and save it
        return super()._load_data(name)

    def save(self, key: Any, data: Any) -> None:
        try:
            super().save(key, data)
        except OSError as error:
            logger.warning("%s: a compiled kernel is not kept: %s", self._cache_path, error.strerror)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _whole(path: str) -> bool:
    """Whether a file is there and ends in the checksum of the rest; a word in the log where it does not."""
    try:
        content = Path(path).read_bytes()
    except OSError:
        return False
    whole = _digest(content[:-32]) == content[-32:]
    if not whole:
        logger.warning("%s: damaged; the kernel is compiled anew", path)
    return whole


def kernel(function: Callable) -> Callable:
    """Compile `function` on its first call for the types it meets; a later process loads it from the cache."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()  # Numba reads it while decorating, and has no argument for it
    try:
        compiled = numba.njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before
    cache, impl = compiled._cache, compiled._cache._impl
    cache._cache_file = _CheckedFiles(cache.cache_path, impl.filename_base, impl.locator.get_source_stamp())
    return compiled
