"""Schedules of the learning rate: constant, in stairs, or by the loss on held-out data."""

import logging
import math
import sys
from array import array
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import UserError

logger = logging.getLogger("partae_fast")


_STAIRS = 10  # equal falls to a tenth of the first rate


class Schedule:
    """The learning rate of each step; this one is constant."""

    @property
    def losses(self) -> "array[float] | None":
        """The losses that the schedule depends on, which a checkpoint keeps; None if it depends on none."""
        return None

    def settings(self) -> dict[str, Any]:
        """Return the settings of the schedule by name, for a checkpoint."""
        return {}

    def update(self, step: int, model: Any) -> bool:
        """Prepare the schedule after `step` steps; return whether training ends."""
        return False

    def rate_at(self, step: int, first: float) -> float:
        """Return the learning rate of a step; `first` is that of step 0."""
        return first

    def factors_at(self, step: int) -> dict[str, float]:
        """Return factors of the learning rate of a step, by prefix of the names of the parameters that they apply to.

        The prefixes are those of every step. Other parameters have the factor 1.
        """
        return {}

    def until_next(self, step: int) -> int:
        """Return for how many steps the learning rate of `step` stays."""
        return sys.maxsize


class Stairs(Schedule):
    """A schedule that falls to a tenth over `steps` steps, in ten equal stairs, and then stays.

    Raises UserError if `steps` is below 0. With 0 steps the rate is constant.
    """

    def __init__(self, steps: int) -> None:
        if steps < 0:
            raise UserError(f"steps is {steps}; it must be 0 or more")
        self.steps = steps

    def settings(self) -> dict[str, Any]:
        return {"falling_over": self.steps} if self.steps else {}

    def rate_at(self, step: int, first: float) -> float:
        return first * (_STAIRS - self._stair_of(step)) / _STAIRS

    def until_next(self, step: int) -> int:
        stair = self._stair_of(step)
        if not self.steps or stair == _STAIRS - 1:
            return sys.maxsize
        return math.ceil((stair + 1) * (self.steps / _STAIRS)) - step

    def _stair_of(self, step: int) -> int:
        return min(int(step / (self.steps / _STAIRS)), _STAIRS - 1) if self.steps else 0


class Plateau(Schedule):
    """A schedule that divides the learning rate, and later ends training, when the held-out loss stops falling.

    With `groups`, each group of parameters has a loss and a learning rate of its own, as if it were trained alone.

    The schedule depends on the measured losses only, so a checkpoint needs nothing else.

    Args:
        every: steps in an epoch.
        measure: a function that returns a model's loss on held-out data, or with `groups` the loss of each group.
        patience: number of epochs in a row without a new lowest loss after which the rate is divided; counting then
            starts again.
        divisor: the rate is divided by it; above 1.
        stop: number of epochs in a row without a new lowest loss of any group after which training ends; 0 for never.
        groups: prefixes of the names of the parameters in each group; none for one loss of all parameters.

    Attributes:
        losses: the loss of each finished epoch, with `groups` one loss for each group.

    Raises UserError if a number is out of range.
    """

    def __init__(
        self,
        every: int,
        measure: Callable[[Any], float | Sequence[float]],
        patience: int = 3,
        divisor: float = 10.0,
        stop: int = 0,
        groups: Sequence[str] = (),
    ) -> None:
        for name, value, least in (("every", every, 1), ("patience", patience, 1), ("stop", stop, 0)):
            if value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}")
        if not divisor > 1:
            raise UserError(f"divisor is {divisor:g}; it must be above 1")
        self.every, self.patience, self.divisor, self.stop = every, patience, divisor, stop
        self.groups = tuple(groups)
        self._measure = measure
        self._losses = array("d")

    @property
    def losses(self) -> "array[float]":
        return self._losses

    def settings(self) -> dict[str, Any]:
        values = {"every": self.every, "patience": self.patience, "divisor": self.divisor, "stop": self.stop}
        return {"plateau": values | ({"groups": list(self.groups)} if self.groups else {})}

    def update(self, step: int, model: Any) -> bool:
        """Measure the model after `step` steps if an epoch has ended; return whether training ends."""
        count = max(1, len(self.groups))
        while len(self.losses) // count < step // self.every:
            before = self._falls(step - 1)
            measured: Any = self._measure(model)
            self.losses.extend(measured if self.groups else [measured])
            listed = ", ".join(f"{loss:.4g}" for loss in self.losses[-count:])
            message = f"epoch {len(self.losses) // count}: loss {listed} on held-out data"
            fallen = [i for i, pair in enumerate(zip(before, self._falls(step), strict=True)) if pair[0] < pair[1]]
            if fallen:
                of_groups = f" of {', '.join(self.groups[i] for i in fallen)}" if self.groups else ""
                message += f"; the learning rate{of_groups} is divided by {self.divisor:g}"
            logger.info("%s", message)
        return bool(self.stop) and min(idle for _, idle in self._follow(len(self.losses) // count)) >= self.stop

    def rate_at(self, step: int, first: float) -> float:
        """Return the learning rate of a step, the highest of all groups; for steps of later epochs, the present one."""
        return first * self.divisor ** -min(self._falls(step))

    def factors_at(self, step: int) -> dict[str, float]:
        if not self.groups:
            return {}
        falls = self._falls(step)
        return {group: self.divisor ** (min(falls) - fall) for group, fall in zip(self.groups, falls, strict=True)}

    def until_next(self, step: int) -> int:
        return self.every - step % self.every

    def _falls(self, step: int) -> list[int]:
        """Return how often the rate of each group was divided before a step."""
        return [falls for falls, _ in self._follow(step // self.every)]

    def _follow(self, epochs: int) -> list[tuple[int, int]]:
        """Return for each group how often the rate was divided in these epochs, and epochs since the lowest loss."""
        count = max(1, len(self.groups))
        return [self._follow_losses(self.losses[group : epochs * count : count]) for group in range(count)]

    def _follow_losses(self, losses: "array[float]") -> tuple[int, int]:
        falls = waited = idle = 0
        best = float("inf")
        for loss in losses:
            if loss < best:
                best, waited, idle = loss, 0, 0
                continue
            waited, idle = waited + 1, idle + 1
            if waited == self.patience:
                falls, waited = falls + 1, 0
        return falls, idle
