"""The type of sums, and the check of labels and masks, in plain PyTorch."""

import math
from typing import Any

import torch
from torch import Tensor


def upcast(*tensors: Tensor | None) -> Any:
    """Return the tensors in the type of sums: float32, or float64 if they already are."""
    return [t if t is None or t.dtype == torch.float64 else t.float() for t in tensors]


def in_unit(share: Tensor) -> Tensor:
    """Return `share`; on a GPU, values outside [0, 1] become NaN, as raising would synchronize the stream."""
    return share if share.is_cpu else share.where((share >= 0) & (share <= 1), math.nan)
