"""Limits of the processor time and memory that reading one small file may take."""

import functools
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

MEGABYTES, SECONDS = 100, 20

Check = Callable[[bytes, Path], str]


def within_limits(check: Check) -> Check:
    """Return a check that also raises AssertionError if a file takes too much time or memory."""

    @functools.wraps(check)
    def limited(raw: bytes, folder: Path) -> str:
        before, start = _peak_megabytes(), time.process_time()
        outcome = check(raw, folder)
        megabytes, seconds = _peak_megabytes() - before, time.process_time() - start
        assert megabytes < MEGABYTES, f"it took {megabytes:.0f} MB"
        assert seconds < SECONDS, f"it took {seconds:.1f} s"
        return outcome

    return limited


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
