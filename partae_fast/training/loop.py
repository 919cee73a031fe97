"""Parts of the training loops: launches of bounded length and a progress bar."""

import contextlib
import time
from collections.abc import Callable
from typing import Any, TypeVar

from ..interrupts import deferred_interrupt as deferred_interrupt
from ..progress import Lines, bar, is_shown

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
    """Return a progress bar from step `first` to `end`, or an object with the same methods that logs lines.

    `progress` None shows the bar in a terminal or a notebook, and logs a line every 30 s elsewhere. False shows none.
    """
    if not is_shown(progress):
        return contextlib.nullcontext(_NoBar(name, first, end, progress))
    return bar(initial=first, total=end, unit="step", desc=name)


class _NoBar:
    def __init__(self, name: str, first: int, end: int, progress: bool | None) -> None:
        self.n, self._name, self._first, self._end = first, name, first, end
        self._lines, self._values = Lines(progress), ""

    def set_postfix(self, refresh: bool = True, **values: Any) -> None:
        self._values = "".join(f", {name} {value}" for name, value in values.items())

    def update(self, n: int) -> None:
        self.n += n
        share = (self.n - self._first) / max(1, self._end - self._first)
        self._lines.show(lambda: f"{self._name}: {self.n} of {self._end}{self._values}", share)
