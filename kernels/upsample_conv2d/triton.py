"""upsample_conv2d on a GPU, in Triton: taps that read one number are summed beforehand, the gradient's places that
read one number are summed before it is multiplied. The kernels are in `_triton/maps.py`.
"""

import torch
from torch import Tensor

from .._triton import maps


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], relu: bool) -> Tensor:
    return maps.convolve(x, weight, bias, scale, relu)


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
    channels, filters = weight.shape[2:]
    nine = maps.boxes(grad_out, out, (x.shape[1], x.shape[2]), scale, relu)
    grad_x = grad_w = grad_bias = None
    if need_x:
        grad_x = maps.multiply(nine, weight.transpose(2, 3).reshape(9 * filters, channels))
    if need_w:
        summed = maps.gradient_of_weight(x, nine, 1)  # (1, 1, C, 9 D)
        grad_w = summed.view(channels, 3, 3, filters).permute(1, 2, 0, 3).contiguous()
    if need_bias:
        grad_bias = nine[..., 4 * filters : 5 * filters].sum((0, 1, 2), dtype=torch.float32).to(x.dtype)
    return grad_x, grad_w, grad_bias
