"""A learning rate that falls when the loss on held-out data stops falling."""

import logging
from array import array
from collections.abc import Callable
from typing import Any

from ..errors import UserError

logger = logging.getLogger("partae_fast")


class Plateau:
    """A schedule that divides the learning rate, and later ends training, when the held-out loss stops falling.

    The schedule depends on the measured losses only, so a checkpoint needs nothing else.

    Args:
        every: steps in an epoch.
        measure: a function that returns a model's loss on held-out data.
        patience: number of epochs in a row without a new lowest loss after which the rate is divided; counting then
            starts again.
        divisor: the rate is divided by it; above 1.
        stop: number of epochs in a row without a new lowest loss after which training ends; 0 for never.

    Attributes:
        losses: the loss of each finished epoch.

    Raises UserError if a number is out of range.
    """

    def __init__(
        self, every: int, measure: Callable[[Any], float], patience: int = 3, divisor: float = 10.0, stop: int = 0
    ) -> None:
        for name, value, least in (("every", every, 1), ("patience", patience, 1), ("stop", stop, 0)):
            if value < least:
                raise UserError(f"{name} is {value}; it must be at least {least}")
        if not divisor > 1:
            raise UserError(f"divisor is {divisor:g}; it must be above 1")
        self.every, self.patience, self.divisor, self.stop = every, patience, divisor, stop
        self._measure = measure
        self.losses: array[float] = array("d")

    def settings(self) -> dict[str, float]:
        """Return the settings of the schedule, for a checkpoint."""
        return {"every": self.every, "patience": self.patience, "divisor": self.divisor, "stop": self.stop}

    def update(self, step: int, model: Any) -> bool:
        """Measure the model after `step` steps if an epoch has ended; return whether training ends."""
        while len(self.losses) < step // self.every:
            before = self.rate_at(step - 1)
            self.losses.append(self._measure(model))
            message = f"epoch {len(self.losses)}: loss {self.losses[-1]:.4g} on held-out data"
            if self.rate_at(step) < before:
                message += f"; the learning rate is divided by {self.divisor:g}"
            logger.info("%s", message)
        return bool(self.stop) and self._follow(len(self.losses))[1] >= self.stop

    def rate_at(self, step: int) -> float:
        """Return the factor of the first learning rate in a step; for future steps, the present one."""
        return self.divisor ** -self._follow(step // self.every)[0]

    def until_next(self, step: int) -> int:
        """Return the number of steps from this one to the end of its epoch."""
        return self.every - step % self.every

    def _follow(self, epochs: int) -> tuple[int, int]:
        """Return how often the rate was divided in these epochs, and the number since the lowest loss."""
        falls = waited = idle = 0
        best = float("inf")
        for loss in self.losses[:epochs]:
            if loss < best:
                best, waited, idle = loss, 0, 0
                continue
            waited, idle = waited + 1, idle + 1
            if waited == self.patience:
                falls, waited = falls + 1, 0
        return falls, idle
