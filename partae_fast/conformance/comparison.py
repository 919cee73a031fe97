"""The comparison of a result with the reference, and the definition of an error."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

WRONG = math.inf  # the error of a result that no tolerance allows: not finite, not reproducible, or of the wrong shape


@dataclass(frozen=True)
class Output:
    """One output of a pass, as it is expected.

    name     the quantity
    truth    its value, float64, with NaN where it must be NaN; None if nothing is returned
    dtype    its type
    free     elements that may be NaN although `truth` is not, because dense arithmetic multiplies zeros; or None
    endless  whether infinity is accepted where `truth` is NaN
    each     whether the error is that of the worst item along the first axis, instead of the whole
    compare  (result) -> error, instead of the comparison with `truth`, of which only the shape is used
    """

    name: str
    truth: np.ndarray | float | None
    dtype: torch.dtype
    free: np.ndarray | None = None
    each: bool = False
    endless: bool = False
    compare: Callable[[Tensor], float] | None = None

    def error(self, result: Any) -> float:
        """Return the error of the result."""
        if self.truth is None or result is None:
            return 0.0 if self.truth is None and result is None else WRONG
        if not isinstance(result, Tensor) or result.dtype != self.dtype or tuple(result.shape) != np.shape(self.truth):
            return WRONG
        if self.compare:
            return self.compare(result)
        return error(result, self.truth, self.free, self.each, self.endless)


def array(tensor: Tensor | None) -> Any:
    """Return a copy as a NumPy array for the reference: float64, or integers as they are; None for None."""
    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy().copy()


def error(
    result: Tensor | None, truth: Any, free: np.ndarray | None = None, each: bool = False, endless: bool = False
) -> float:
    """Return the relative root-mean-square error of a result.

    The truth is first rounded to the result's type, so that numbers beyond its range are infinite and numbers below it
    are 0. The error is WRONG if shapes differ, if result or truth is NaN or infinite where the other is not, or if the
    truth is all 0 and the result is not. `free` elements may also be NaN. With `endless`, elements whose truth is NaN
    may be infinite. With `each` the error is that of the worst item along the first axis.
    """
    if result is None or tuple(result.shape) != np.shape(truth):
        return WRONG
    exact = np.array(truth, dtype=np.float64)
    computed, expected = array(result), array(torch.tensor(exact).to(result.dtype))
    spared = np.zeros(exact.shape, bool) if free is None else free & np.isnan(computed)
    finite = np.isfinite(expected) & ~spared
    unknown = ~np.isfinite(computed) if endless else np.isnan(computed)
    same = (computed == expected) | (unknown & np.isnan(expected)) | spared
    if not same[~finite].all() or not np.isfinite(computed[finite]).all():
        return WRONG
    if not each or exact.ndim == 0:
        return _relative(computed[finite], expected[finite])
    return max(_relative(c[f], e[f]) for c, e, f in zip(computed, expected, finite, strict=True))


def _relative(computed: np.ndarray, expected: np.ndarray) -> float:
    largest = np.abs(expected).max(initial=0.0)
    if largest == 0.0:
        return 0.0 if not computed.any() else WRONG
    difference = np.linalg.norm(
        (computed - expected) / largest
    )  # scaled, as squares of 1e-200 or 1e200 are out of range
    return float(difference / np.linalg.norm(expected / largest))
