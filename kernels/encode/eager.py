"""encode in plain PyTorch, on any device: a dense convolution, then the pool; dense again in the backward pass."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast


def filters(w_enc: Tensor) -> Tensor:
    """Return (M, H, K) as (K, H, M), flipped in time: PyTorch correlates, and the paper convolves."""
    return w_enc.flip(0).permute(2, 1, 0)


def normalised(x: Tensor, mean: Tensor | None, std: Tensor | None, taps: int) -> Tensor:
    """Return (x - mean) / std as (B, H, N + M - 1), zero-padded in time for an output as long as the input."""
    if mean is not None and std is not None:
        x = (x - mean) / std
    c = (taps - 1) // 2
    return F.pad(x.transpose(1, 2), (taps - 1 - c, c))


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, negative_slope: float = 0.0
) -> tuple[Tensor, Tensor]:
    wx, ww, wmean, wstd = upcast(x, w_enc, mean, std)
    if wstd is not None and not wstd.is_cpu:  # on a GPU, raising would synchronize the stream
        wstd = wstd.where(wstd > 0, math.nan)
    z = F.conv1d(normalised(wx, wmean, wstd, w_enc.shape[0]), filters(ww))  # (B, K, N)
    if not negative_slope:
        z = z.relu()
    z = F.pad(z, (0, -z.shape[2] % pool), value=-math.inf)  # a short last window
    values, positions = F.max_pool1d(z, pool, return_indices=True)
    if negative_slope:  # after the pool: before it, scaling could make two activations equal
        values = F.leaky_relu(values, negative_slope)
    return values.transpose(1, 2).to(x.dtype).contiguous(), positions.transpose(1, 2).to(torch.int32).contiguous()


def encode_backward(
    grad_values: Tensor,
    x: Tensor,
    w_enc: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: int,
    mean: Tensor | None,
    std: Tensor | None,
    need_x: bool,
    need_w: bool,
    negative_slope: float = 0.0,
) -> tuple[Tensor | None, Tensor | None]:
    wx, ww, wmean, wstd, g = upcast(x, w_enc, mean, std, grad_values)
    xn, kernel = normalised(wx, wmean, wstd, w_enc.shape[0]), filters(ww)
    g = torch.where(values <= 0, negative_slope * g if negative_slope else 0.0, g)
    grad_a = g.new_zeros(x.shape[0], x.shape[1], w_enc.shape[2])
    grad_a = grad_a.scatter_(1, positions.long(), g).transpose(1, 2)  # (B, K, N)
    grad_x = grad_w = None
    if need_x:
        taps = w_enc.shape[0]
        before = taps - 1 - (taps - 1) // 2
        padded = torch.nn.grad.conv1d_input(xn.shape, kernel, grad_a)
        grad_x = padded[:, :, before : before + x.shape[1]].transpose(1, 2)
        grad_x = (grad_x if wstd is None else grad_x / wstd).to(x.dtype).contiguous()
    if need_w:
        grad_w = torch.nn.grad.conv1d_weight(xn, kernel.shape, grad_a).permute(2, 1, 0).flip(0)
        grad_w = grad_w.to(w_enc.dtype).contiguous()
    return grad_x, grad_w
