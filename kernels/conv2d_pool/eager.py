"""conv2d_pool in plain PyTorch, on any device: a dense convolution, then the pool; dense again in the backward pass."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast
from ..maps import channels_first, channels_last, convolve, convolve_backward
from ..shapes import no_positions


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    z = convolve(channels_first((upcast(x))[0]), *upcast(weight, bias))
    z = z.relu() if relu else z
    if tuple(pool) == (1, 1):
        return channels_last(z).to(x.dtype), no_positions(x)
    bins, (p, q) = x.shape[2], pool
    z = F.pad(z, (0, -bins % q, 0, -x.shape[1] % p), value=-math.inf)  # short last windows
    values, places = F.max_pool2d(z, (p, q), return_indices=True)  # indices in the padded map
    n, h = places // z.shape[3], places % z.shape[3]
    positions = (n % p) * q + h % q
    return channels_last(values).to(x.dtype), channels_last(positions.to(torch.int32))


def unpooled(values: Tensor, positions: Tensor, pool: tuple[int, int], frames: int, bins: int) -> Tensor:
    """Return (B, N, H, D) with the values (B, V, W, D) at their positions, and 0 elsewhere."""
    (batch, windows, columns, filters), (p, q) = values.shape, pool
    blocks = values.new_zeros(batch, windows, columns, p * q, filters)
    blocks.scatter_(3, positions.long()[:, :, :, None], values[:, :, :, None])
    blocks = blocks.view(batch, windows, columns, p, q, filters).transpose(2, 3)
    return blocks.reshape(batch, windows * p, columns * q, filters)[:, :frames, :bins]


def conv2d_pool_backward(
    grad_values: Tensor,
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: tuple[int, int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    g, wx, ww = upcast(grad_values, x, weight)
    g = torch.where(values <= 0, 0.0, g) if relu else g
    if tuple(pool) != (1, 1):
        g = unpooled(g, positions, pool, x.shape[1], x.shape[2])
    grad_x, grad_w, grad_bias = convolve_backward(
        grad_z=channels_first(g),
        x=channels_first(wx),
        weight=ww,
        need_x=need_x,
        need_w=need_w,
        need_bias=need_bias,
    )
    return (
        channels_last(grad_x).to(x.dtype) if grad_x is not None else None,
        grad_w.to(x.dtype) if grad_w is not None else None,
        grad_bias.to(x.dtype) if grad_bias is not None else None,
    )
