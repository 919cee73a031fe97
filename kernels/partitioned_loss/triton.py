"""partitioned_loss on a GPU, in Triton: the loss and both of its gradients in one pass over memory.

The first programs process the reconstruction and the others the latents. Each stores one partial sum, and a second
kernel adds these in order.
"""

import torch
from torch import Tensor

from .._triton.common import PASS_PARTS_MAX, add_up, check_counts, in_unit, launch, power_of_two, tl, triton


@triton.jit(do_not_specialize=["error_parts", "steps", "windows", "total_windows", "penalty", "per_item"])
def partitioned_loss_kernel(
    partials_ptr,  # (error_parts + window parts,)
    reconstruction_ptr,  # (B, N, H)
    target_ptr,  # (B, N, H)
    grad_reconstruction_ptr,  # (B, N, H)
    values_ptr,  # (B, W, K)
    grad_values_ptr,  # (B, W, K)
    noise_only_ptr,  # (B,)
    foreground_ptr,  # (K,)
    error_parts,  # programs for the reconstruction, `steps` blocks each
    steps,
    size,  # B * N * H
    windows,  # W
    total_windows,  # B * W
    latents,  # K
    penalty,
    per_item,  # 1 / B
    BLOCK: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    program = tl.program_id(0)
    if program < error_parts:
        first = program.to(tl.int64) * steps * BLOCK
        squares = tl.zeros((BLOCK,), tl.float32)
        for step in range(steps):
            offs_i = first + step * BLOCK + tl.arange(0, BLOCK)
            mask_i = offs_i < size
            r = tl.load(reconstruction_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
            target = tl.load(target_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
            error = r - target  # (BLOCK,)
            grad = (2.0 * per_item) * error
            tl.store(
                grad_reconstruction_ptr + offs_i,
                grad.to(grad_reconstruction_ptr.dtype.element_ty),
                mask=mask_i,
            )
            squares += error * error
        tl.store(partials_ptr + program, tl.sum(squares, axis=0) * per_item)
    else:
        offs_w = (program - error_parts) * BLOCK_W + tl.arange(0, BLOCK_W)
        mask_w = offs_w < total_windows
        foreground_sum = tl.zeros((BLOCK_K,), tl.float32)
        for latent_start in range(0, latents, BLOCK_K):
            offs_k = latent_start + tl.arange(0, BLOCK_K)
            foreground_sum += tl.load(foreground_ptr + offs_k, mask=offs_k < latents, other=0.0).to(tl.float32)
        share = tl.sum(foreground_sum, axis=0) / latents
        share = tl.where(share > 0, share, 1.0)
        noise_only = tl.load(noise_only_ptr + offs_w // windows, mask=mask_w, other=0.0).to(tl.float32)
        item_weight = (penalty * per_item / share) * in_unit(noise_only)  # (BLOCK_W,)
        penalties = tl.zeros((BLOCK_W, BLOCK_K), tl.float32)
        for latent_start in range(0, latents, BLOCK_K):
            offs_k = latent_start + tl.arange(0, BLOCK_K)
            mask_k = offs_k < latents
            foreground = tl.load(foreground_ptr + offs_k, mask=mask_k, other=0.0).to(tl.float32)
            foreground = in_unit(foreground)
            weight = item_weight[:, None] * (foreground * foreground)[None, :]
            offs_v = offs_w.to(tl.int64)[:, None] * latents + offs_k[None, :]
            mask_v = mask_w[:, None] & mask_k[None, :]
            values = tl.load(values_ptr + offs_v, mask=mask_v, other=0.0).to(tl.float32)  # (BLOCK_W, BLOCK_K)
            grad = weight * values
            tl.store(grad_values_ptr + offs_v, (2.0 * grad).to(grad_values_ptr.dtype.element_ty), mask=mask_v)
            penalties += grad * values
        tl.store(partials_ptr + program, tl.sum(tl.sum(penalties, axis=1), axis=0))


def tile_of(latents: int) -> dict[str, int]:
    """Return block sizes and warps: 2048 numbers for each program and step, 16 for each thread."""
    block_k = power_of_two(latents, 4, 128)
    return {"BLOCK": 2048, "BLOCK_W": 2048 // block_k, "BLOCK_K": block_k, "num_warps": 4}


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    batch, windows, latents = values.shape
    check_counts(windows=batch * windows)
    reconstruction, target, values = reconstruction.contiguous(), target.contiguous(), values.contiguous()
    tile = tile_of(latents)
    size = reconstruction.numel()
    steps = triton.cdiv(size, tile["BLOCK"] * PASS_PARTS_MAX)
    error_parts = triton.cdiv(size, tile["BLOCK"] * steps)
    programs = error_parts + triton.cdiv(batch * windows, tile["BLOCK_W"])
    grad_reconstruction = torch.empty_like(reconstruction)
    grad_values = torch.empty_like(values)
    partials = torch.empty(programs, dtype=torch.float32, device=values.device)
    launch(
        partitioned_loss_kernel,
        programs,
        partials_ptr=partials,
        reconstruction_ptr=reconstruction,
        target_ptr=target,
        grad_reconstruction_ptr=grad_reconstruction,
        values_ptr=values,
        grad_values_ptr=grad_values,
        noise_only_ptr=noise_only.contiguous(),
        foreground_ptr=foreground.contiguous(),
        error_parts=error_parts,
        steps=steps,
        size=size,
        windows=windows,
        total_windows=batch * windows,
        latents=latents,
        penalty=float(penalty),
        per_item=1.0 / batch,
        **tile,
    )
    loss = torch.empty((), dtype=torch.float32, device=values.device)
    return add_up(partials, loss), grad_reconstruction, grad_values
