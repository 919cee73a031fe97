"""The type that sums are made in, and the check of shares, in plain PyTorch."""

import math
from typing import Any

import torch
from torch import Tensor


def wide(*tensors: Tensor | None) -> Any:
    """The tensors in the type that sums are made in: float32, or float64 where they already are."""
    return [t if t is None or t.dtype == torch.float64 else t.float() for t in tensors]


def in_unit(share: Tensor) -> Tensor:
    """NaN where a label or mask in GPU memory is outside [0, 1]: an error there would have to wait for the stream."""
    return share if share.is_cpu else share.where((share >= 0) & (share <= 1), math.nan)
