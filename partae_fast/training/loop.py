"""Parts of the training loops: launches of bounded length and a progress bar."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..interrupts import deferred_interrupt as deferred_interrupt

T = TypeVar("T")

# A burst of steps ends after about this long. A NaN, an interrupt and a due checkpoint wait for its end.
BURST_SECONDS = 0.25
BURST_STEPS = 1 << 20  # or after this many, whose losses stay on the device until then
COMMON_STEPS = 8  # in a burst of several ranks: their clocks differ, so a burst ends after a fixed number of steps


class Pace:
    """The number of steps in a launch: few at first, then as many as fit into the time of a burst."""

    def __init__(self) -> None:
        self._steps = 1

    def launch(self, limit: int, take: Callable[[int], T]) -> T:
        """Call `take` with the number of steps, at most `limit`, and return its result."""
        steps, start = min(limit, self._steps, BURST_STEPS), time.monotonic()
        result = take(steps)
        seconds = time.monotonic() - start
        if seconds < BURST_SECONDS / 2:
            self._steps = max(self._steps, 2 * steps)
        elif seconds > BURST_SECONDS:
            self._steps = max(1, steps // 2)
        return result


def progress_bar(name: str, first: int, end: int, progress: bool | None) -> Any:
    """Return a progress bar from step `first` to `end`, or an object with the same methods that shows nothing.

    `progress` None shows the bar on a terminal only.
    """
    if not (sys.stderr.isatty() if progress is None else progress):
        return contextlib.nullcontext(_NoBar(first))
    from tqdm import tqdm

    return tqdm(initial=first, total=end, unit="step", desc=name)


class _NoBar:
    def __init__(self, n: int) -> None:
        self.n = n

    def set_postfix(self, **values: Any) -> None:
        pass

    def update(self, n: int) -> None:
        self.n += n
