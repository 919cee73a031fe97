"""curro_loss on a GPU, in Triton: the loss and both of its gradients in one pass over memory.

Each program stores one partial sum, and a second kernel adds these in order.
"""

import torch
from torch import Tensor

from .._triton.common import PASS_PARTS_MAX, add_up, check_counts, in_unit, launch, tl, triton


@triton.jit(do_not_specialize=["steps", "per_item"])
def curro_loss_kernel(
    partials_ptr,  # (programs,)
    grad_signal_ptr,  # (B, H)
    grad_noise_ptr,  # (B, H)
    signal_ptr,  # (B, H)
    noise_ptr,  # (B, H)
    target_ptr,  # (B, H)
    noise_only_ptr,  # (B,)
    steps,  # blocks in a program
    size,  # B * H
    bins,  # H
    per_item,  # 1 / B
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * steps * BLOCK
    squares = tl.zeros((BLOCK,), tl.float32)
    for step in range(steps):
        offs = first + step * BLOCK + tl.arange(0, BLOCK)
        mask = offs < size
        signal = tl.load(signal_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        noise = tl.load(noise_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        target = tl.load(target_ptr + offs, mask=mask, other=0.0).to(tl.float32)
        noise_only = tl.load(noise_only_ptr + offs // bins, mask=mask, other=0.0).to(tl.float32)
        share = 1.0 - in_unit(noise_only)
        error = share * signal + noise - target
        grad = (2.0 * per_item) * error
        tl.store(grad_noise_ptr + offs, grad.to(grad_noise_ptr.dtype.element_ty), mask=mask)
        tl.store(grad_signal_ptr + offs, (share * grad).to(grad_signal_ptr.dtype.element_ty), mask=mask)
        squares += error * error
    tl.store(partials_ptr + tl.program_id(0), tl.sum(squares, axis=0) * per_item)


TILE = {"BLOCK": 1024, "num_warps": 4}


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, bins = signal.shape
    check_counts(items=batch, bins=bins)
    signal, noise, target = signal.contiguous(), noise.contiguous(), target.contiguous()
    steps = triton.cdiv(signal.numel(), TILE["BLOCK"] * PASS_PARTS_MAX)
    programs = triton.cdiv(signal.numel(), TILE["BLOCK"] * steps)
    partials = torch.empty(programs, dtype=torch.float32, device=signal.device)
    grad_signal, grad_noise = torch.empty_like(signal), torch.empty_like(noise)
    launch(
        curro_loss_kernel,
        programs,
        partials_ptr=partials,
        grad_signal_ptr=grad_signal,
        grad_noise_ptr=grad_noise,
        signal_ptr=signal,
        noise_ptr=noise,
        target_ptr=target,
        noise_only_ptr=noise_only.contiguous(),
        steps=steps,
        size=signal.numel(),
        bins=bins,
        per_item=1.0 / batch,
        **TILE,
    )
    loss = torch.empty((), dtype=torch.float32, device=signal.device)
    return add_up(partials, loss), grad_signal, grad_noise
