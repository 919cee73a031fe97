# pyright: reportPossiblyUnboundVariable=false, reportArgumentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""dense on a GPU, in Triton: bias, activation and dropout in the epilogue of the product.

The backward pass takes the gradient through dropout and activation and stores partial sums of the bias's gradient,
which are added in order. The two products after it have no epilogue to fuse and use cuBLAS.
"""

import torch
from torch import Tensor

from .._triton.common import add_up, check_counts, launch, precision_of, product, tl, triton
from . import EPSILON, SLOPE, Dropout

_EPSILON, _SLOPE = tl.constexpr(EPSILON), tl.constexpr(SLOPE)
DRAW = ("key_low", "key_high", "step", "layer", "threshold")


@triton.jit
def kept(item, first, key_low, key_high, step, layer, threshold, BLOCK_B: tl.constexpr, BLOCK_O: tl.constexpr):
    """Return a mask (BLOCK_B, BLOCK_O) of the outputs from `first`, a multiple of 4, that dropout keeps.

    The settings are 32-bit words in int32.
    """
    group = first // 4 + tl.arange(0, BLOCK_O // 4)
    counter = tl.zeros((BLOCK_B, BLOCK_O // 4), tl.uint32)
    w0, w1, w2, w3 = tl.philox_impl(
        counter + step.to(tl.uint32, bitcast=True),
        counter + item.to(tl.uint32)[:, None],
        counter + layer.to(tl.uint32, bitcast=True),
        counter + group.to(tl.uint32)[None, :],
        key_low.to(tl.uint32, bitcast=True),
        key_high.to(tl.uint32, bitcast=True),
        10,
    )
    words = tl.reshape(tl.join(tl.join(w0, w2), tl.join(w1, w3)), (BLOCK_B, BLOCK_O))
    return words >= threshold.to(tl.uint32, bitcast=True)


@triton.jit(do_not_specialize=["batch", *DRAW])
def dense_kernel(
    output_ptr,  # (B, O)
    x_ptr,  # (B, I)
    weight_ptr,  # (I, O)
    bias_ptr,  # (O,) or None
    batch,
    inputs,
    outputs,
    key_low,
    key_high,
    step,
    layer,
    threshold,
    step_ptr,  # int64: the step instead of `step`; or None
    scale,
    ACTIVATION: tl.constexpr,
    DROPOUT: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_B: tl.constexpr,
    BLOCK_I: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    blocks = tl.cdiv(outputs, BLOCK_O)
    first = (tl.program_id(0) % blocks) * BLOCK_O
    offs_b = (tl.program_id(0) // blocks) * BLOCK_B + tl.arange(0, BLOCK_B)
    offs_o = first + tl.arange(0, BLOCK_O)
    mask_b, mask_o = offs_b < batch, offs_o < outputs
    rows = offs_b.to(tl.int64)[:, None]
    z = tl.zeros((BLOCK_B, BLOCK_O), tl.float32)
    for begin in range(0, inputs, BLOCK_I):
        offs_i = begin + tl.arange(0, BLOCK_I)
        mask_i = offs_i < inputs
        x = tl.load(x_ptr + rows * inputs + offs_i[None, :], mask=mask_b[:, None] & mask_i[None, :], other=0.0)
        weight = tl.load(
            weight_ptr + offs_i.to(tl.int64)[:, None] * outputs + offs_o[None, :],
            mask=mask_i[:, None] & mask_o[None, :],
            other=0.0,
        )
        z = product(x, weight, z, PRECISION)
    if bias_ptr is not None:
        z += tl.load(bias_ptr + offs_o, mask=mask_o, other=0.0).to(tl.float32)[None, :]
    if ACTIVATION == "relu":
        z = tl.where(z <= 0, 0.0, z)
    elif ACTIVATION == "leaky_relu":
        z = tl.where(z <= 0, _SLOPE * z, z)
    elif ACTIVATION == "mrelu":
        z = tl.where(z < _EPSILON, _EPSILON / (1.0 + (_EPSILON - z)), z)
    if DROPOUT:
        if step_ptr is not None:
            step = tl.load(step_ptr).to(tl.int32)
        keep = kept(offs_b, first, key_low, key_high, step, layer, threshold, BLOCK_B, BLOCK_O)
        z = tl.where(keep, z * scale, 0.0)
    mask = mask_b[:, None] & mask_o[None, :]
    tl.store(output_ptr + rows * outputs + offs_o[None, :], z.to(output_ptr.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["batch", "steps", *DRAW])
def dense_gradient_kernel(
    grad_z_ptr,  # (B, O), of the pre-activation
    partials_ptr,  # (parts, O) of the bias's gradient, or None
    grad_output_ptr,  # (B, O)
    output_ptr,  # (B, O)
    batch,
    steps,  # blocks of items in a part
    outputs,
    key_low,
    key_high,
    step,
    layer,
    threshold,
    step_ptr,  # int64: the step instead of `step`; or None
    scale,
    ACTIVATION: tl.constexpr,
    DROPOUT: tl.constexpr,  # whether to draw the mask again
    BLOCK_B: tl.constexpr,
    BLOCK_O: tl.constexpr,
):
    blocks = tl.cdiv(outputs, BLOCK_O)
    part = tl.program_id(0) // blocks
    first = (tl.program_id(0) % blocks) * BLOCK_O
    offs_o = first + tl.arange(0, BLOCK_O)
    mask_o = offs_o < outputs
    sums = tl.zeros((BLOCK_B, BLOCK_O), tl.float32)
    for block in range(steps):
        offs_b = (part * steps + block) * BLOCK_B + tl.arange(0, BLOCK_B)
        mask = (offs_b < batch)[:, None] & mask_o[None, :]
        offs = offs_b.to(tl.int64)[:, None] * outputs + offs_o[None, :]
        grad = tl.load(grad_output_ptr + offs, mask=mask, other=0.0).to(tl.float32) * scale
        if ACTIVATION != "identity":
            y = tl.load(output_ptr + offs, mask=mask, other=0.0).to(tl.float32)
            if ACTIVATION == "relu":
                grad = tl.where(y <= 0, 0.0, grad)
            elif ACTIVATION == "leaky_relu":
                grad = tl.where(y <= 0, _SLOPE * grad, grad)
            else:  # mrelu, whose knee is scaled by dropout and rounded to the storage type
                knee = (tl.full((1, 1), _EPSILON, tl.float32) * scale).to(output_ptr.dtype.element_ty).to(tl.float32)
                a = y / scale
                grad = tl.where(y <= knee, grad * (a * a / _EPSILON), grad)
                grad = tl.where(y == 0, 0.0, grad)  # dropped: the output of mrelu is never 0
        if DROPOUT:
            if step_ptr is not None:
                step = tl.load(step_ptr).to(tl.int32)
            keep = kept(offs_b, first, key_low, key_high, step, layer, threshold, BLOCK_B, BLOCK_O)
            grad = tl.where(keep, grad, 0.0)
        tl.store(grad_z_ptr + offs, grad.to(grad_z_ptr.dtype.element_ty), mask=mask)
        sums += grad
    if partials_ptr is not None:
        tl.store(partials_ptr + part.to(tl.int64) * outputs + offs_o, tl.sum(sums, axis=0), mask=mask_o)


# Small tiles: a batch of 128 and a layer of 2000 have 128 of them, about one for each multiprocessor of a large GPU.
TILE = {"BLOCK_B": 32, "BLOCK_I": 32, "BLOCK_O": 64, "num_warps": 4, "num_stages": 3}
GRADIENT = {"BLOCK_B": 16, "BLOCK_O": 64, "num_warps": 4}
PARTS_MAX = 64  # of the bias's gradient, added at once


def _word(word: int) -> int:
    """Return a 32-bit word as the int32 with the same bits, so that the argument always has one type."""
    return word - 2**32 if word >= 2**31 else word


def _settings(dropout: Dropout) -> dict[str, int | float | Tensor | None]:
    """Return the kernels' arguments for dropout: the counter's words, the threshold and the scale."""
    step, step_at = (0, dropout.step) if isinstance(dropout.step, Tensor) else (dropout.step, None)
    words = dropout.seed & 0xFFFFFFFF, dropout.seed >> 32, step, dropout.layer, dropout.threshold
    return {**dict(zip(DRAW, map(_word, words), strict=True)), "step_ptr": step_at, "scale": dropout.scale}


def dense(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str, dropout: Dropout) -> Tensor:
    (batch, inputs), outputs = x.shape, weight.shape[1]
    check_counts(items=batch, inputs=inputs, outputs=outputs)
    x, weight = x.contiguous(), weight.contiguous()
    output = torch.empty(batch, outputs, dtype=x.dtype, device=x.device)
    launch(
        dense_kernel,
        triton.cdiv(batch, TILE["BLOCK_B"]) * triton.cdiv(outputs, TILE["BLOCK_O"]),
        output_ptr=output,
        x_ptr=x,
        weight_ptr=weight,
        bias_ptr=None if bias is None else bias.contiguous(),
        batch=batch,
        inputs=inputs,
        outputs=outputs,
        ACTIVATION=activation,
        DROPOUT=dropout.threshold > 0,
        PRECISION=precision_of(x, "product"),
        **_settings(dropout),
        **TILE,
    )
    return output


def dense_backward(
    grad_output: Tensor,
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    activation: str,
    dropout: Dropout,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    batch, outputs = output.shape
    grad_output, output = grad_output.contiguous(), output.contiguous()
    grad_z = torch.empty_like(output)
    blocks = triton.cdiv(batch, GRADIENT["BLOCK_B"])
    steps = triton.cdiv(blocks, PARTS_MAX)
    parts = triton.cdiv(blocks, steps)
    partials = torch.empty(parts, outputs, dtype=torch.float32, device=x.device) if need_bias else None
    launch(
        dense_gradient_kernel,
        parts * triton.cdiv(outputs, GRADIENT["BLOCK_O"]),
        grad_z_ptr=grad_z,
        partials_ptr=partials,
        grad_output_ptr=grad_output,
        output_ptr=output,
        batch=batch,
        steps=steps,
        outputs=outputs,
        ACTIVATION=activation,
        DROPOUT=dropout.masks(activation),
        **_settings(dropout),
        **GRADIENT,
    )
    grad_x = grad_z @ weight.t() if need_x else None
    grad_weight = x.t() @ grad_z if need_weight else None
    if partials is None:
        return grad_x, grad_weight, None
    return grad_x, grad_weight, add_up(partials, torch.empty(outputs, dtype=x.dtype, device=x.device))
