"""What loops of training steps have in common: launches of a bounded length, a late Ctrl-C, a progress bar."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..interrupts import deferred_interrupt as deferred_interrupt

T = TypeVar("T")

# A burst of steps ends after about this long. A NaN, an interrupt, or a checkpoint that is due, waits for its end.
BURST_SECONDS = 0.25
BURST_STEPS = 1 << 20  # and after this many: their losses stay on the device until then
COMMON_STEPS = 8  # in a burst of several ranks, whose clocks differ: after each they agree whether to stop


class Pace:
    """How many steps a launch has: few at first, then as many as take about as long as a burst may."""

    def __init__(self) -> None:
        self._steps = 1

    def launch(self, limit: int, take: Callable[[int], T]) -> T:
        """Call `take` with the number of steps, at most `limit`; returns what it returns."""
        steps, start = min(limit, self._steps, BURST_STEPS), time.monotonic()
        taken = take(steps)
        seconds = time.monotonic() - start
        if seconds < BURST_SECONDS / 2:
            self._steps = max(self._steps, 2 * steps)
        elif seconds > BURST_SECONDS:
            self._steps = max(1, steps // 2)
        return taken


def progress_bar(name: str, first: int, end: int, progress: bool | None) -> Any:
    """A bar from step `first` to `end`, or something that takes its calls and shows nothing.

    It is shown where `progress` is true, and where that is None on a terminal only.
    """
    shown = sys.stderr.isatty() if progress is None else progress
    if not shown:
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
