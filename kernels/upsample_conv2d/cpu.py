"""upsample_conv2d on the CPU: taps that read the same number are summed in advance (`_cpu/maps.py`).

At scale (1, 1) and with many channels PyTorch's library convolves (`_cpu/library_maps.py`).
"""

import math

from torch import Tensor

from .._cpu.library_maps import by_library, convolve_by_library, library_gradients
from .._cpu.map_gradients import gradients_by_boxes, pooled_gradients
from .._cpu.maps import convolve, few
from ..shapes import no_positions


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], relu: bool) -> Tensor:
    if scale == (1, 1) and by_library(x, weight):
        return convolve_by_library(x, weight, bias, relu)
    return convolve(x, weight, bias, scale, 0.0 if relu else -math.inf)


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
    needed = need_x, need_w, need_bias
    if scale == (1, 1) and by_library(x, weight):
        return library_gradients(grad_out, x, weight, out, no_positions(x), scale, relu, needed)
    if scale == (1, 1) and not few(weight):  # the faster way for a plain convolution with many filters
        return pooled_gradients(grad_out, x, weight, out, no_positions(x), scale, relu, needed)
    return gradients_by_boxes(grad_out, x, weight, out, scale, relu, needed)
