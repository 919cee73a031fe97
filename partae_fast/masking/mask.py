"""The mask: a gain for each frame and bin from a model's two reconstructions."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError


@dataclass(frozen=True)
class Mask:
    """Settings of the gain that separates signal from noise.

        gain = max(F^e / (F^e + b B^e + n V^e) * max(1 - g V^2 / X^2, 0), 1 - p V^2 / X^2)

    F and B are the rectified reconstructions of the foreground and the background, X the magnitudes of the recording,
    and V the root mean square of noise-only audio in each bin. F, B and X^2 are averaged over `smoothing` frames and
    bins around each element. The gain is in 0 .. 1, and it is 0 where F, B and V are 0.

    With exponent 2 the first factor has the form of a Wiener filter. The second factor is a gate, which is closed where
    the power of the recording is at most g times that of the noise. The bypass keeps what is much louder than p times
    the noise, even if the model does not reconstruct it; in steady noise it must be signal.

    Arguments:
        exponent: e, positive; larger values move the first factor towards 0 or 1.
        background: b, 0 or more; 0 for a model without a background.
        noise: n, 0 or more.
        gate: g, 0 or more; 0 for no gate.
        bypass: p, 0 or more; 0 for no bypass.
        smoothing: frames and bins in each average; odd, 1 for no smoothing. The outermost values are repeated.

    Raises UserError if a setting is out of range.

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
                accepted = "a positive number, such as 2" if name == "exponent" else "a number, 0 or more"
                raise UserError(f"mask: {name} is {value!r}; it must be {accepted}")
            object.__setattr__(self, name, float(value))
        if isinstance(self.smoothing, bool) or self.smoothing not in range(1, 100, 2):
            raise UserError(f"mask: smoothing is {self.smoothing!r}; it must be an odd whole number, such as 3")

    @property
    def reach(self) -> int:
        """Number of frames on either side that a frame's gain depends on."""
        return self.smoothing // 2

    def gain(
        self,
        foreground: NDArray[np.float32],
        background: NDArray[np.float32],
        magnitudes: NDArray[np.float32] | None = None,
        noise_mean_square: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return the gain of each element of F, B and X (..., N, H), with V^2 (H,); NaN where F or B is NaN.

        Without `magnitudes` there is neither gate nor bypass. `noise_mean_square` None means 0, and a bin where it is 0
        has no bypass. B is not read if `background` is 0.
        """
        from .cpu import gain  # imported here because importing Numba is slow

        shape = foreground.shape
        shape_3d = (math.prod(shape[:-2]), *(1, *shape)[-2:])
        gate, bypass = (0.0, 0.0) if magnitudes is None else (self.gate, self.bypass)
        f, b, x = (
            np.ascontiguousarray(part, np.float32).reshape(shape_3d)
            for part in (foreground, background, foreground if magnitudes is None else magnitudes)
        )
        v2 = np.zeros(shape_3d[2], np.float32) if noise_mean_square is None else noise_mean_square
        v2 = np.ascontiguousarray(v2, np.float32)
        settings = (self.exponent, self.background, self.noise, gate, bypass)
        return gain(f, b, x, v2, settings, self.smoothing).reshape(shape)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as numbers, for a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Mask":
        """Return the mask of `to_dict`'s settings; raise UserError for an unknown name or a missing exponent.

        Other missing settings, which older files do not have, get their defaults.
        """
        unknown = set(settings) - {field.name for field in fields(cls)}
        if unknown or "exponent" not in settings:
            mismatched = ", ".join(sorted(unknown or {"exponent"}))
            raise UserError(f"mask: unknown or missing settings: {mismatched}; the file was written by another version")
        return cls(**settings)


def gain_of(
    model: Any, magnitudes: NDArray[np.float32], signal: NDArray[np.float32], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the gain of a model's mask for magnitudes (..., N, H) and the model's estimates of signal and noise.

    A model without a mask gets `Mask()`.
    """
    tensor = getattr(model, "noise_mean_square", None)
    noise_mean_square = None if tensor is None else tensor.detach().float().cpu().numpy()
    return (getattr(model, "mask", None) or Mask()).gain(signal, noise, magnitudes, noise_mean_square)
