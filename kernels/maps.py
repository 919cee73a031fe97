"""3x3 convolutions of maps in plain PyTorch, with their gradients, and the two orders of a map's axes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def channels_first(x: Tensor) -> Tensor:
    """Return a view (B, C, N, H) of (B, N, H, C)."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """Return (B, C, N, H) as (B, N, H, C), contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def filters(weight: Tensor) -> Tensor:
    """Return (3, 3, C, D) as (D, C, 3, 3)."""
    return weight.permute(3, 2, 0, 1).contiguous()  # in float64 PyTorch writes a gradient only in that order


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return the zero-padded convolution (B, D, N, H) of x (B, C, N, H)."""
    return F.conv2d(x, filters(weight), bias, padding=1)


def convolve_backward(
    grad_z: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_w: bool, need_bias: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return the gradients of x (B, C, N, H), weight (3, 3, C, D) and bias; None for each that is not needed."""
    one = [1, 1]
    grad_x, grad_w, grad_bias = torch.ops.aten.convolution_backward(
        grad_z,
        x,
        filters(weight),
        [weight.shape[3]],
        one,
        one,
        one,
        False,
        [0, 0],
        1,
        [need_x, need_w, need_bias],
    )
    return grad_x, grad_w.permute(2, 3, 1, 0).contiguous() if need_w else None, grad_bias
