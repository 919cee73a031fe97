"""upsample_conv2d in plain PyTorch, on any device: the up-sampled map is built, then convolved densely."""

import torch
from torch import Tensor

from .._eager.common import upcast
from ..maps import channels_first, channels_last, convolve, convolve_backward


def upsampled(x: Tensor, scale: tuple[int, int]) -> Tensor:
    """Return (B, N, H, C) as (B, p N, q H, C), with each number p q times."""
    (batch, frames, bins, channels), (p, q) = x.shape, scale
    copies = x[:, :, None, :, None].expand(batch, frames, p, bins, q, channels)
    return copies.reshape(batch, frames * p, bins * q, channels)


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], relu: bool) -> Tensor:
    wx, ww, wbias = upcast(x, weight, bias)
    z = convolve(channels_first(upsampled(wx, scale)), ww, wbias)
    return channels_last(z.relu() if relu else z).to(x.dtype)


def upsample_conv2d_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    scale: tuple[int, int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    g, wx, ww = upcast(grad_out, x, weight)
    g = torch.where(out <= 0, 0.0, g) if relu else g
    u = channels_first(upsampled(wx, scale))
    grad_u, grad_w, grad_bias = convolve_backward(channels_first(g), u, ww, need_x, need_w, need_bias)
    grad_x = None
    if grad_u is not None:
        (batch, frames, bins, channels), (p, q) = x.shape, scale
        copies = channels_last(grad_u).view(batch, frames, p, bins, q, channels)
        grad_x = copies.sum((2, 4)).to(x.dtype)
    return (
        grad_x,
        grad_w.to(x.dtype) if grad_w is not None else None,
        grad_bias.to(x.dtype) if grad_bias is not None else None,
    )
