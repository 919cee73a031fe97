"""Divide the time of a run among its groups, so that a run on two cores ends in time.

A quick run takes at most 30 s for each benchmark and a full run at most 40 minutes, including the start of Python and
`bench_startup.py`. Every group gets an equal share of the time that is left, so what one group does not use, the others
get. Where the time does not suffice, a group leaves out compiled versions and takes fewer rounds.
"""

import time
from collections.abc import Callable

QUICK_SECONDS = 20.0  # of the groups of one benchmark; imports and the ceilings take the rest of 30 s
FULL_SECONDS = 2100.0  # of all groups; the rest of 40 minutes is for `bench_startup.py`, which compiles all kernels
COMPILE_SECONDS = 8.0  # expected time to compile and check a version, before one was compiled
LEAST_SECONDS = 1.0  # that the compilation of a version leaves to every later group
FEWEST_ROUNDS = 3
COMPILED = "torch.compile"  # in the name of a version that is compiled


class Budget:
    """The time of a run, for a number of groups; without groups there is no limit."""

    def __init__(self, seconds: float, groups: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock, self.end, self.groups = clock, clock() + seconds, groups
        self.compiled: list[float] = []  # seconds in which versions were compiled and checked

    def left(self) -> float:
        return self.end - self.clock()

    def compile_seconds(self) -> float:
        """Return the expected time to compile and check a version: that of the slowest so far."""
        return max(self.compiled, default=COMPILE_SECONDS)

    def share(self) -> "Share":
        """Return the share of the next group, which begins now."""
        share = Share(self, self.left() / max(1, self.groups))
        self.groups = max(0, self.groups - 1)
        return share


class Share:
    """The time of a group, which began when its share was made."""

    def __init__(self, budget: Budget, seconds: float) -> None:
        self.budget, self.end = budget, budget.clock() + seconds
        self._compiled = False

    def left(self) -> float:
        """Return the seconds that are left of the group's share, below 0 if it took more."""
        return self.end - self.budget.clock()

    def refusal(self, version: str) -> str | None:
        """Return why a version is left out; None if it is not.

        Only compiled versions are left out. The first of a group may take time of the later groups.
        """
        if COMPILED not in version:
            return None
        left = self.left()
        if not self._compiled:
            left = max(left, self.budget.left() - LEAST_SECONDS * (1 + self.budget.groups))
        if self.budget.compile_seconds() <= left:
            return None
        return "the time of the run is used up; repeat it, because compiled code is kept, or give --rounds"

    def took(self, version: str, seconds: float) -> None:
        """Note the time in which a version was compiled and checked."""
        if COMPILED in version:
            self._compiled = True
            self.budget.compiled.append(seconds)

    def rounds(self, wanted: int, seconds: float, reserve: float) -> int:
        """Return how many rounds of this length fit, at most `wanted`; `reserve` is for what follows them."""
        return max(min(FEWEST_ROUNDS, wanted), min(wanted, int((self.left() - reserve) / seconds)))
