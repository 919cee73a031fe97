"""How a result is compared with the reference: what an error is."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

WRONG = math.inf  # the error of a result that no tolerance covers: not finite, not the same bits twice, out of place


@dataclass(frozen=True)
class Output:
    """What a pass returns at one place.

    name     of the quantity
    truth    what it is, float64, NaN where it must be NaN; None where nothing is to be returned
    dtype    its type
    free     where arithmetic that multiplies zeros may give NaN though `truth` is no NaN; None: nowhere
    endless  whether infinity will do where `truth` is NaN: it stands for whatever is not finite
    each     whether the error is that of the worst item along the first axis, and not that of the whole
    compare  (result) -> error, in place of the comparison with `truth`, of which only the shape counts then
    """

    name: str
    truth: np.ndarray | float | None
    dtype: torch.dtype
    free: np.ndarray | None = None
    each: bool = False
    endless: bool = False
    compare: Callable[[Tensor], float] | None = None

    def error(self, result: Any) -> float:
        """The error of what was returned in this place."""
        if self.truth is None or result is None:
            return 0.0 if self.truth is None and result is None else WRONG
        if not isinstance(result, Tensor) or result.dtype != self.dtype or tuple(result.shape) != np.shape(self.truth):
            return WRONG
        if self.compare:
            return self.compare(result)
        return error(result, self.truth, self.free, self.each, self.endless)


def array(tensor: Tensor | None) -> Any:
    """A copy of the numbers as a NumPy array for the reference, float64 (integers: as they are); None for None."""
    if tensor is None:
        return None
    tensor = tensor.detach().cpu()
    return (tensor.double() if tensor.is_floating_point() else tensor).numpy().copy()


def error(
    result: Tensor | None, truth: Any, free: np.ndarray | None = None, each: bool = False, endless: bool = False
) -> float:
    """Relative root-mean-square error of what was computed.

    The truth is rounded to the result's type first, so that what is beyond its range is infinite, and what is below it
    is 0. WRONG where shapes differ, where one of result and truth is NaN or infinite and the other not so, or where a
    truth of nothing but zeros is not met exactly. Elements that are `free` may also be NaN; where `endless`, those of
    which the truth is NaN may be infinite. With `each` the worst of the items along the first axis counts.
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
    difference = np.linalg.norm((computed - expected) / largest)  # squares of 1e-200 or 1e200 are out of range
    return float(difference / np.linalg.norm(expected / largest))
