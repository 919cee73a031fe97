"""PyTorch's switches for TF32: float32 operands of products on a GPU that are rounded to 11 bits."""

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch

Switch = Literal["convolution", "product"]


def _owner(switch: Switch) -> Any:
    """Return the object that has `fp32_precision`; before PyTorch 2.9 no object has it."""
    return getattr(torch.backends.cudnn, "conv", None) if switch == "convolution" else torch.backends.cuda.matmul


def tf32_allowed(switch: Switch) -> bool:
    """Return whether PyTorch's switch allows TF32, for a "convolution" or a "product" of matrices.

    The switches are torch.backends.cudnn.conv.fp32_precision, which allows it unless it is changed, and
    torch.backends.cuda.matmul.fp32_precision, which does not. A PyTorch without these names has `allow_tf32`, which
    raises in a newer one if the new name was set.
    """
    owner = _owner(switch)
    if hasattr(owner, "fp32_precision"):
        return owner.fp32_precision == "tf32"
    return bool((torch.backends.cudnn if switch == "convolution" else torch.backends.cuda.matmul).allow_tf32)


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in convolutions and products of matrices."""
    # The old names set the new ones too. With the new names alone, parts of PyTorch that read the old ones raise.
    before = tf32_allowed("convolution"), tf32_allowed("product")
    owners = [owner for owner in (_owner("convolution"), _owner("product")) if hasattr(owner, "fp32_precision")]
    precisions = [owner.fp32_precision for owner in owners]
    _allow(allowed, allowed)
    try:
        yield
    finally:
        _allow(*before)
        for owner, precision in zip(owners, precisions, strict=True):
            if owner.fp32_precision != precision:
                owner.fp32_precision = precision


def _allow(convolution: bool, product: bool) -> None:
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = convolution, product
