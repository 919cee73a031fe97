"""conv2d_pool on the CPU: a window's rows are convolved and pooled in one pass, and no activation is ever stored.

The backward pass puts the gradients of a window's rows back in place, in the cache, and goes on densely.
"""

import math

from torch import Tensor

from .._cpu import maps
from . import positions_of_none


def conv2d_pool(x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int], relu: bool) -> tuple[Tensor, Tensor]:
    if pool == (1, 1):
        return maps.convolve(x, weight, bias, (1, 1), 0.0 if relu else -math.inf), positions_of_none(x)
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
    if pool == (1, 1) and maps.few(weight):
        return maps.convolve_backward(grad_values, x, weight, values, pool, relu, need_x, need_w, need_bias)
    return maps.pooled_backward(grad_values, x, weight, values, positions, pool, relu, need_x, need_w, need_bias)
