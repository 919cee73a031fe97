"""How a model's two reconstructions become a gain for each frame and bin of the recording."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError


@dataclass(frozen=True)
class Mask:
    """gain = F^e / (F^e + B^e), F and B the foreground's and the background's reconstruction, e the exponent.

    Both are first rectified: a magnitude is never negative. Where both are then 0 the model saw nothing
    that it knows, and the gain is 0. Exponent 2 is the Wiener filter's shape, and the gain lies within 0 ..
    1 for any.

    Arguments:
        exponent: a positive number; the larger, the nearer the gain is to 0 or 1.

    Raises UserError for any other exponent.

    >>> float(Mask().gain(np.float32(3.0), np.float32(1.0)))
    0.8999999761581421
    """

    exponent: float = 2.0

    def __post_init__(self) -> None:
        number = isinstance(self.exponent, int | float) and not isinstance(self.exponent, bool)
        if not (number and math.isfinite(self.exponent) and self.exponent > 0):
            raise UserError(f"mask: exponent is {self.exponent!r}; it must be a positive number, such as 2")
        object.__setattr__(self, "exponent", float(self.exponent))

    def gain(self, foreground: NDArray[np.float32], background: NDArray[np.float32]) -> NDArray[np.float32]:
        """Two reconstructions of one shape -> each element's gain, in 0 .. 1; NaN where either is NaN."""
        foreground, background = np.maximum(foreground, 0), np.maximum(background, 0)
        # Powers of the two as they are could pass float32's range; the larger of them becomes 1.
        larger = np.maximum(foreground, background)
        larger = np.where(larger == 0, np.float32(1), larger)
        f, b = (foreground / larger) ** self.exponent, (background / larger) ** self.exponent
        either = f + b
        return (f / np.where(either == 0, 1, either)).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a model's file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Mask":
        """The inverse of `to_dict`; raises UserError on a name that is unknown or missing."""
        if set(settings) != {"exponent"}:
            odd = ", ".join(sorted({"exponent"} ^ set(settings)))
            raise UserError(f"mask: settings unknown or missing: {odd}; the file is of another version")
        return cls(**settings)
