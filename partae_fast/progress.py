"""How the progress of long work is shown: a bar in a terminal or a notebook, and lines in the log elsewhere."""

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, ClassVar

logger = logging.getLogger("partae_fast")

INTERVAL = 30.0  # seconds between lines


def is_shown(progress: bool | None) -> bool:
    """Return whether a bar is shown: `progress`, or for None whether stderr is a terminal or this is a notebook."""
    return (sys.stderr.isatty() or in_notebook()) if progress is None else progress


def in_notebook() -> bool:
    """Return whether this process runs the cells of a notebook."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def bar(**settings: Any) -> Any:
    """Return a bar of tqdm, for a terminal or a notebook."""
    if in_notebook():
        from tqdm.auto import tqdm
    else:
        from tqdm import tqdm  # tqdm.auto takes longer to import
    return tqdm(**settings)


class Lines:
    """A line in the log every 30 s, for output that goes to a file or another program.

    The interval is that between any two lines, because work may consist of many short parts.

    progress: None for lines; a caller that asks for a bar or for nothing gets no lines.
    """

    last: ClassVar[float | None] = None  # time of the last line, or of the first object

    def __init__(self, progress: bool | None) -> None:
        self._enabled, self._started = progress is None, time.monotonic()
        self._first: tuple[float, float] | None = None  # time and share of the first call of `show`
        if Lines.last is None:
            Lines.last = self._started

    def show(self, text: Callable[[], str], share: float) -> None:
        """Log `text()` and the remaining time if the last line was 30 s ago; `share` is the share that is done.

        The pace is that since the first call, so that the start of the work, such as the compilation of kernels, does
        not count.
        """
        now = time.monotonic()
        self._first = self._first or (now, share)
        if not self._enabled or now - (Lines.last or 0.0) < INTERVAL:
            return
        Lines.last = now
        began, done = self._first if share > self._first[1] else (self._started, 0.0)
        left = "" if not share > done else f", about {duration((now - began) * (1 - share) / (share - done))} left"
        logger.info("%s%s", text(), left)


def duration(seconds: float) -> str:
    """Return a duration as text, such as 45 s, 12 min or 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
