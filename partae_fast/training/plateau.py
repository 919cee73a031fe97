"""A learning rate that falls where a model no longer gets better on what was held out."""

import logging
from array import array
from collections.abc import Callable
from typing import Any

from ..errors import UserError

logger = logging.getLogger("partae_fast")


class Plateau:
    """Measures a model after each epoch, divides the learning rate when it has stopped falling, ends training later.

    All follows from the measured losses, so that a checkpoint need keep nothing else.

    Args:
        every: steps in an epoch.
        measure: gives the loss of a model on what was held out.
        patience: after so many epochs in a row without a lower loss than any before them the rate is divided, and they
            are counted anew.
        divisor: by which it is divided, above 1.
        stop: training ends after so many epochs in a row without a lower loss; 0 for never.

    Attributes:
        losses: of each epoch that is over.

    Raises UserError where a number is out of range.
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
        """Plain values that decide how a learning rate falls."""
        return {"every": self.every, "patience": self.patience, "divisor": self.divisor, "stop": self.stop}

    def listen(self, step: int, model: Any) -> bool:
        """Measure a model with `step` steps behind it where an epoch has ended; returns whether training ends."""
        while len(self.losses) < step // self.every:
            before = self.rate_at(step - 1)
            self.losses.append(self._measure(model))
            said = f"epoch {len(self.losses)}: {self.losses[-1]:.4g} on what was held out"
            if self.rate_at(step) < before:
                said += f"; the learning rate is divided by {self.divisor:g}"
            logger.info("%s", said)
        return bool(self.stop) and self._follow(len(self.losses))[1] >= self.stop

    def rate_at(self, step: int) -> float:
        """What the first learning rate is multiplied by in a step; of steps to come, as things stand."""
        return self.divisor ** -self._follow(step // self.every)[0]

    def until_next(self, step: int) -> int:
        """Steps from this one to the end of its epoch."""
        return self.every - step % self.every

    def _follow(self, epochs: int) -> tuple[int, int]:
        """After so many epochs: how often the rate was divided, and for how many epochs no loss was the lowest."""
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
