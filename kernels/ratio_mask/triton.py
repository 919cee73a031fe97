# pyright: reportCallIssue=false, reportArgumentType=false
"""ratio_mask_loss on a GPU, in Triton: softmax, product, squared error and gradient in one pass over memory.

Each program stores one partial sum, and a second kernel adds these in order.
"""

import torch
from torch import Tensor

from .._triton.common import PASS_PARTS_MAX, add_up, check_counts, launch, power_of_two, tl, triton


@triton.jit(do_not_specialize=["steps", "share"])
def ratio_mask_kernel(
    partials_ptr,  # (programs,)
    grad_ptr,  # (P, S)
    logits_ptr,  # (P, S)
    mixture_ptr,  # (P,)
    parts_ptr,  # (P, S)
    steps,  # blocks in a program
    points,  # P
    sources,  # S
    share,  # 1 / (P * S)
    BLOCK_P: tl.constexpr,
    BLOCK_S: tl.constexpr,
):
    offs_s = tl.arange(0, BLOCK_S)
    mask_s = offs_s < sources
    squares = tl.zeros((BLOCK_P, BLOCK_S), tl.float32)
    for step in range(steps):
        offs_p = (tl.program_id(0).to(tl.int64) * steps + step) * BLOCK_P + tl.arange(0, BLOCK_P)
        mask_p = offs_p < points
        offs = offs_p[:, None] * sources + offs_s[None, :]
        mask = mask_p[:, None] & mask_s[None, :]
        logits = tl.load(logits_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        parts = tl.load(parts_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        mixture = tl.load(mixture_ptr + offs_p, mask=mask_p, other=0.0).to(tl.float32)[:, None]
        top = tl.max(tl.where(mask_s[None, :], logits, -float("inf")), axis=1)
        raised = tl.where(mask_s[None, :], tl.exp(logits - top[:, None]), 0.0)
        share_of = raised / tl.sum(raised, axis=1)[:, None]
        error = share_of * mixture - parts
        squares += tl.where(mask, error * error, 0.0)
        slope = (2.0 * share) * error * mixture
        grad = share_of * (slope - tl.sum(share_of * slope, axis=1)[:, None])
        tl.store(grad_ptr + offs, grad.to(grad_ptr.dtype.element_ty), mask=mask)
    tl.store(partials_ptr + tl.program_id(0), share * tl.sum(tl.sum(squares, axis=1), axis=0))


def tile_of(sources: int) -> dict[str, int]:
    """Return block sizes and warps: 2048 numbers for each program, 16 for each thread."""
    block_s = power_of_two(sources, 1, 2048)
    return {"BLOCK_P": 2048 // block_s, "BLOCK_S": block_s, "num_warps": 4}


def ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    count, points = logits.shape[-1], mixture.numel()
    check_counts(points=points)
    logits, mixture, sources = logits.contiguous(), mixture.contiguous(), sources.contiguous()
    tile = tile_of(count)
    steps = triton.cdiv(points, tile["BLOCK_P"] * PASS_PARTS_MAX)
    programs = triton.cdiv(points, tile["BLOCK_P"] * steps)
    partials = torch.empty(programs, dtype=torch.float32, device=logits.device)
    grad = torch.empty_like(logits)
    launch(
        ratio_mask_kernel,
        programs,
        partials_ptr=partials,
        grad_ptr=grad,
        logits_ptr=logits,
        mixture_ptr=mixture,
        parts_ptr=sources,
        steps=steps,
        points=points,
        sources=count,
        share=1.0 / (points * count),
        **tile,
    )
    return add_up(partials, torch.empty((), dtype=torch.float32, device=logits.device)), grad
