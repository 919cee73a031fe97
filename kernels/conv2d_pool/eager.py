"""conv2d_pool in plain PyTorch, on any device: a dense convolution, then the pool; dense again in the backward pass."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..encode.eager import wide


def channels_first(x: Tensor) -> Tensor:
    """(B, N, H, C) as torch names it, (B, C, N, H); the storage stays as it is."""
    return x.permute(0, 3, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    """(B, C, N, H) -> (B, N, H, C), contiguous."""
    return x.permute(0, 2, 3, 1).contiguous()


def filters(weight: Tensor) -> Tensor:
    """(3, 3, C, D) -> (D, C, 3, 3)."""
    return weight.permute(3, 2, 0, 1).contiguous()  # in float64 PyTorch writes a gradient only in that order


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """z (B, D, N, H) of x (B, C, N, H), with zeros around it."""
    return F.conv2d(x, filters(weight), bias, padding=1)


def convolve_backward(
    grad_z: Tensor, x: Tensor, weight: Tensor, need_x: bool, need_w: bool, need_bias: bool
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of x (B, C, N, H), weight (3, 3, C, D) and bias; None for what is not needed."""
    one = [1, 1]
    grad_x, grad_w, grad_bias = torch.ops.aten.convolution_backward(
        *(grad_z, x, filters(weight), [weight.shape[3]], one, one, one, False, [0, 0], 1, [need_x, need_w, need_bias])
    )
    return grad_x, grad_w.permute(2, 3, 1, 0).contiguous() if need_w else None, grad_bias


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    z = convolve(channels_first((wide(x))[0]), *wide(weight, bias))
    z = z.relu() if relu else z
    if tuple(pool) == (1, 1):
        return channels_last(z).to(x.dtype), positions_of_none(x)
    bins, (p, q) = x.shape[2], pool
    z = F.pad(z, (0, -bins % q, 0, -x.shape[1] % p), value=-math.inf)  # short last windows
    values, places = F.max_pool2d(z, (p, q), return_indices=True)  # places are in the padded map, row by row
    n, h = places // z.shape[3], places % z.shape[3]
    positions = (n % p) * q + h % q
    return channels_last(values).to(x.dtype), channels_last(positions.to(torch.int32))


def positions_of_none(x: Tensor) -> Tensor:
    """The positions where a window is one place: there is nothing to tell."""
    return x.new_empty(0, dtype=torch.int32)


def unpooled(values: Tensor, positions: Tensor, pool: tuple[int, int], frames: int, bins: int) -> Tensor:
    """(B, N, H, D): the values (B, V, W, D) at their positions, 0 elsewhere."""
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
    g, wx, ww = wide(grad_values, x, weight)
    g = torch.where(values <= 0, 0.0, g) if relu else g
    if tuple(pool) != (1, 1):
        g = unpooled(g, positions, pool, x.shape[1], x.shape[2])
    grad_x, grad_w, grad_bias = convolve_backward(
        *(channels_first(g), channels_first(wx), ww, need_x, need_w, need_bias)
    )
    return (
        channels_last(grad_x).to(x.dtype) if grad_x is not None else None,
        grad_w.to(x.dtype) if grad_w is not None else None,
        grad_bias.to(x.dtype) if grad_bias is not None else None,
    )
