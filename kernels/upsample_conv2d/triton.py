# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""upsample_conv2d on a GPU, in Triton: taps that read the same number are summed in advance.

The backward pass sums the gradient over the positions that read the same number before it multiplies.
"""

import torch
from torch import Tensor

from .._triton.common import launch, tl, triton
from .._triton.maps import ELEMENTS, convolve, convolve_phase, coordinates, gradient_of_weight


@triton.jit(do_not_specialize=["numbers", "p", "q", "frames", "bins"])
def boxes_kernel(
    boxes_ptr,  # (B, N, H, 3, 3, D)
    grad_ptr,  # (B, p N, q H, D)
    out_ptr,  # (B, p N, q H, D)
    numbers,  # B N H 9 D
    p,
    q,
    frames,  # N
    bins,  # H
    filters,  # D
    RELU: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Sum the gradient before the rectifier over the p x q positions that read (n, h) by tap (i, j)."""
    offs = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offs < numbers
    d, rest = (offs % filters).to(tl.int32), offs // filters
    j, i, row = (rest % 3).to(tl.int32), (rest // 3 % 3).to(tl.int32), rest // 9
    item_n, n, h = coordinates(row, frames, bins)
    item = item_n // frames
    total = tl.zeros((BLOCK,), tl.float32)
    for down in range(p):
        for across in range(q):
            to_n, to_h = n * p + 1 - i + down, h * q + 1 - j + across
            inside = mask & (to_n >= 0) & (to_n < frames * p) & (to_h >= 0) & (to_h < bins * q)
            at = ((item * (frames * p) + to_n) * (bins * q) + to_h) * filters + d
            if RELU:
                z = tl.load(out_ptr + at, mask=inside, other=0.0)
                inside = inside & ((z > 0) | (z != z))
            total += tl.load(grad_ptr + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(boxes_ptr + offs, total.to(boxes_ptr.dtype.element_ty), mask=mask)


def boxes(grad: Tensor, out: Tensor, shape: tuple[int, int], scale: tuple[int, int], relu: bool) -> Tensor:
    """Return the boxes (B, N, H, 9 D), (N, H) = shape, of the gradient of the map `out` (B, p N, q H, D)."""
    (batch, _, _, filters), (frames, bins) = grad.shape, shape
    sums = torch.empty(batch, frames, bins, 9 * filters, dtype=grad.dtype, device=grad.device)
    launch(
        boxes_kernel,
        triton.cdiv(sums.numel(), ELEMENTS["BLOCK"]),
        boxes_ptr=sums,
        grad_ptr=grad.contiguous(),
        out_ptr=out.contiguous(),
        numbers=sums.numel(),
        p=scale[0],
        q=scale[1],
        frames=frames,
        bins=bins,
        filters=filters,
        RELU=relu,
        **ELEMENTS,
    )
    return sums


def multiply(x: Tensor, matrix: Tensor) -> Tensor:
    """Return the map (B, N, H, C): (B, N, H, J) times (J, C)."""
    out = x.new_empty(*x.shape[:3], matrix.shape[1])
    one = (0, 1, 1, 0)
    convolve_phase(out, x, matrix.contiguous()[None, None], None, one, one, (1, 1), False)
    return out


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int], relu: bool) -> Tensor:
    return convolve(x, weight, bias, scale, relu)


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
    nine = boxes(grad_out, out, (x.shape[1], x.shape[2]), scale, relu)
    grad_x = grad_w = grad_bias = None
    if need_x:
        grad_x = multiply(nine, weight.transpose(2, 3).reshape(9 * filters, channels))
    if need_w:
        summed = gradient_of_weight(x, nine, 1)  # (1, 1, C, 9 D)
        grad_w = summed.view(channels, 3, 3, filters).permute(1, 2, 0, 3).contiguous()
    if need_bias:
        grad_bias = nine[..., 4 * filters : 5 * filters].sum((0, 1, 2), dtype=torch.float32).to(x.dtype)
    return grad_x, grad_w, grad_bias
