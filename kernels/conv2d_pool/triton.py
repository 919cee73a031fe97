"""conv2d_pool on a GPU, in Triton: a tile of windows is convolved and reduced before it leaves the registers.

The backward pass puts the gradients back in place, then multiplies densely; the kernels are in `_triton/maps.py`.
"""

import torch
from torch import Tensor

from .._triton import maps
from . import positions_of_none


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    if pool == (1, 1):
        return maps.convolve(x, weight, bias, pool, relu), positions_of_none(x)
    return maps.convolve_and_pool(x, weight, bias, pool, relu)


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
    if pool == (1, 1):
        grad_z = torch.where(values <= 0, 0.0, grad_values) if relu else grad_values
    else:
        grad_z = maps.unpooled(grad_values, values, positions, pool, (x.shape[1], x.shape[2]), relu)
    turned = weight.flip(0, 1).transpose(2, 3)
    return (
        maps.convolve(grad_z, turned, None, (1, 1), False) if need_x else None,
        maps.gradient_of_weight(x, grad_z, 3) if need_w else None,
        grad_z.sum((0, 1, 2), dtype=torch.float32).to(x.dtype) if need_bias else None,
    )
