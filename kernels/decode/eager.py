"""decode in plain PyTorch, on any device: the unpooled latents are built, then convolved densely."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast
from ..shapes import checked_pools


def filters(w_dec: Tensor) -> Tensor:
    """Return (M, K, H) as (H, K, M), flipped in time: PyTorch correlates, and the paper convolves."""
    return w_dec.flip(0).permute(2, 1, 0)


def unpooled(values: Tensor, positions: Tensor, frames: int, taps: int) -> Tensor:
    """Return u as (B, K, frames + M - 1), zero-padded in time for an output of `frames` frames."""
    batch, _, latents = values.shape
    u = values.new_zeros(batch, frames, latents).scatter_add_(1, positions.long(), values)
    return F.pad(u.transpose(1, 2), (taps - 1 - taps // 2, taps // 2))


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    if positions.is_cpu:  # on a GPU, the check would synchronize the stream
        checked_pools(positions, frames)
    v, w = upcast(values, w_dec)
    r = F.conv1d(unpooled(v, positions, frames, w_dec.shape[0]), filters(w))
    return r.transpose(1, 2).to(values.dtype).contiguous()


def decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
) -> tuple[Tensor | None, Tensor | None]:
    g, v, w = upcast(grad_reconstruction, values, w_dec)
    frames, taps = g.shape[1], w_dec.shape[0]
    u, kernel, g = unpooled(v, positions, frames, taps), filters(w), g.transpose(1, 2)
    grad_values = grad_w = None
    if need_values:
        before = taps - 1 - taps // 2
        grad_u = torch.nn.grad.conv1d_input(u.shape, kernel, g)[:, :, before : before + frames]
        grad_values = grad_u.transpose(1, 2).gather(1, positions.long()).to(values.dtype).contiguous()
    if need_w:
        grad_w = torch.nn.grad.conv1d_weight(u, kernel.shape, g).permute(2, 1, 0).flip(0)
        grad_w = grad_w.to(w_dec.dtype).contiguous()
    return grad_values, grad_w
