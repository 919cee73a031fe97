"""How a model's two reconstructions become a gain for each frame and bin of the recording."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError


@dataclass(frozen=True)
class Mask:
    """gain = F^e / (F^e + b B^e + n V^e) * max(1 - g V^2 / X^2, 0), and at least 1 - p V^2 / X^2; in 0 .. 1.

    F and B are the foreground's and the background's reconstruction, rectified, for a magnitude is never negative;
    X the recording's own magnitudes; V the root mean square of noise-only audio in each bin. F, B and X^2 are means
    over `smoothing` frames and as many bins around each. Where F, B and V are 0 the model saw nothing that it knows,
    and the gain is 0. With exponent 2 the first factor has the Wiener filter's shape; the second is a gate, shut where
    the recording is no louder than g times the noise's mean square. The bypass lets pass what is far louder than p
    times that, whether or not the model knows it: in steady noise it cannot be noise.

    Arguments:
        exponent: e, positive; the larger, the nearer the first factor is to 0 or 1.
        background: b, 0 or more; 0 for a model that has no background.
        noise: n, 0 or more.
        gate: g, 0 or more; 0 for no gate.
        bypass: p, 0 or more; 0 for none.
        smoothing: frames, and bins, of the means; odd, 1 for none. At the edges the outermost values are repeated.

    Raises UserError for settings out of range.

    >>> round(float(Mask().gain(np.float32([3.0]), np.float32([1.0]))[0]), 6)
    0.9
    """

    exponent: float = 2.0
    background: float = 1.0
    noise: float = 0.0
    gate: float = 0.0
    smoothing: int = 1
    bypass: float = 0.0

    def __post_init__(self) -> None:
        for name in ("exponent", "background", "noise", "gate", "bypass"):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or value < 0 or (name == "exponent" and value == 0):
                wanted = "a positive number, such as 2" if name == "exponent" else "a number, 0 or more"
                raise UserError(f"mask: {name} is {value!r}; it must be {wanted}")
            object.__setattr__(self, name, float(value))
        if isinstance(self.smoothing, bool) or self.smoothing not in range(1, 100, 2):
            raise UserError(f"mask: smoothing is {self.smoothing!r}; it must be an odd whole number, such as 3")

    @property
    def reach(self) -> int:
        """Frames on either side of a frame that its gain depends on."""
        return self.smoothing // 2

    def gain(
        self,
        foreground: NDArray[np.float32],
        background: NDArray[np.float32],
        magnitudes: NDArray[np.float32] | None = None,
        noise_mean_square: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """F, B and X of one shape (..., N, H) and V^2 (H,) -> each element's gain; NaN where F or B is NaN.

        X and V are needed where `noise`, `gate` or `bypass` is above 0. V^2 is 0 where it is None, and where it is 0
        nothing is bypassed. Where `background` is 0, B is not looked at.
        """
        from .cpu import gain  # here: Numba's import takes longer than all of ours

        shape = foreground.shape
        whole = (math.prod(shape[:-2]), *(1, *shape)[-2:])
        gate, bypass = (0.0, 0.0) if magnitudes is None else (self.gate, self.bypass)
        f, b, x = (
            np.ascontiguousarray(part, np.float32).reshape(whole)
            for part in (foreground, background, foreground if magnitudes is None else magnitudes)
        )
        v2 = np.zeros(whole[2], np.float32) if noise_mean_square is None else noise_mean_square
        v2 = np.ascontiguousarray(v2, np.float32)
        weights = (self.exponent, self.background, self.noise, gate, bypass)
        return gain(f, b, x, v2, weights, self.smoothing).reshape(shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a model's file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Mask":
        """The inverse of `to_dict`; raises UserError on a name that is unknown."""
        unknown = set(settings) - {field.name for field in fields(cls)}
        if unknown or "exponent" not in settings:
            odd = ", ".join(sorted(unknown or {"exponent"}))
            raise UserError(f"mask: settings unknown or missing: {odd}; the file is of another version")
        return cls(**settings)


def gain_of(
    model: Any, magnitudes: NDArray[np.float32], signal: NDArray[np.float32], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The gain of a model's mask, `Mask()` where it has none, for magnitudes (..., N, H) that it separates so."""
    known = getattr(model, "noise_mean_square", None)
    noise_mean_square = None if known is None else known.detach().float().cpu().numpy()
    return (getattr(model, "mask", None) or Mask()).gain(signal, noise, magnitudes, noise_mean_square)
