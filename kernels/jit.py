"""Numba as the CPU kernels use it: serial functions that release the GIL, cached by the sources of all kernels."""

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numba

# Sums may be reordered and fused, which is what makes a dot product fill the vector unit. Nothing else of
# fast-math: NaN and infinity keep their meaning, so that a test for NaN is not optimised away.
FASTMATH = {"reassoc", "contract", "nsz"}


@functools.cache
def cache_folder() -> str:
    """Where compiled kernels are kept: one folder for each state of the sources.

    Numba looks only at the file that a function stands in, and so misses an edit in a helper from another file.
    """
    here = Path(__file__).parent
    digest = hashlib.sha256()
    for source in sorted(here.rglob("*.py")):
        digest.update(source.relative_to(here).as_posix().encode())
        digest.update(source.read_bytes())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "partae_fast"
    folder = base / digest.hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return str(folder)
    except OSError:  # a home that cannot be written: compile once per process
        return tempfile.mkdtemp(prefix="partae_fast_")


def kernel(function: Callable) -> Callable:
    """Compile `function` on its first call for the types it meets; a later process loads it from the cache."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = cache_folder()  # Numba reads it while decorating, and has no argument for it
    try:
        return numba.njit(nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before
