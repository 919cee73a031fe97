# pyright: reportPossiblyUnboundVariable=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""decode on a GPU, in Triton: each pooled latent writes its filter onto the M frames around its position.

All three passes work on the sparse (values, positions); the unpooled latents are never built. A tile of the
reconstruction sums the windows whose latents can reach it. The sums over runs of frames, which encode's gradients
share, are in `_triton/frame_windows.py`.
"""

import torch
from torch import Tensor

from .._triton.common import launch, power_of_two, tl, triton
from .._triton.frame_windows import accumulate_runs, legal_positions, scatter_runs, sizes
from ..shapes import pool_range


@triton.jit(do_not_specialize=["frames", "windows", "total_windows", "taps", "before", "pool_least", "pool_most"])
def gather_dots_kernel(
    out_ptr,  # (B, W, K)
    source_ptr,  # (B, N, H)
    positions_ptr,  # (B, W, K) int32
    rows_ptr,  # tap i, bin h of latent k at k * latent_stride + i * tap_stride + h
    frames,  # N
    windows,  # W
    total_windows,  # B * W
    taps,  # M
    bins,  # H
    latents,  # K
    before,
    pool_least,
    pool_most,
    latent_stride,
    tap_stride,
    BLOCK_W: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    latent_blocks = tl.cdiv(latents, BLOCK_K)
    offs_w = (tl.program_id(0) // latent_blocks) * BLOCK_W + tl.arange(0, BLOCK_W)
    offs_k = (tl.program_id(0) % latent_blocks) * BLOCK_K + tl.arange(0, BLOCK_K)
    mask_k = offs_k < latents
    mask_out = (offs_w < total_windows)[:, None] & mask_k[None, :]  # (BLOCK_W, BLOCK_K)
    offs_out = offs_w.to(tl.int64)[:, None] * latents + offs_k[None, :]
    offs_t = tl.load(positions_ptr + offs_out, mask=mask_out, other=0)
    legal = legal_positions(offs_t, (offs_w % windows)[:, None], frames, pool_least, pool_most)
    start = tl.where(legal, offs_t, 0) - before
    item_frame = (offs_w // windows).to(tl.int64) * frames

    # The sum over bins comes last: one reduction for each dot product.
    sums = tl.zeros((BLOCK_W, BLOCK_K, BLOCK_H), tl.float32)
    for bin_start in range(0, bins, BLOCK_H):
        offs_h = bin_start + tl.arange(0, BLOCK_H)
        mask_h = offs_h < bins
        for tap in range(taps):
            offs_n = start + tap
            inside = mask_out & (offs_n >= 0) & (offs_n < frames)
            run_ptrs = source_ptr + (item_frame[:, None] + offs_n) * bins
            run = tl.load(  # (BLOCK_W, BLOCK_K, BLOCK_H)
                run_ptrs[:, :, None] + offs_h[None, None, :],
                mask=inside[:, :, None] & mask_h[None, None, :],
                other=0.0,
            )
            row_ptrs = rows_ptr + offs_k * latent_stride + tap * tap_stride
            row = tl.load(  # (1, BLOCK_K, BLOCK_H): the same for every window
                row_ptrs[None, :, None] + offs_h[None, None, :],
                mask=mask_k[None, :, None] & mask_h[None, None, :],
                other=0.0,
            )
            sums += run.to(tl.float32) * row.to(tl.float32)
    out = tl.where(legal, tl.sum(sums, axis=2), float("nan"))
    tl.store(out_ptr + offs_out, out.to(out_ptr.dtype.element_ty), mask=mask_out)


def gather_tile(bins: int) -> dict[str, int]:
    """Return block sizes and warps. Four windows share each load of a row; loads of single numbers take more warps."""
    block_h = power_of_two(bins, 8, 128)
    return {"BLOCK_W": 4, "BLOCK_K": 512 // block_h, "BLOCK_H": block_h, "num_warps": 8 if bins % 16 else 4}


def gather_dots(
    source: Tensor,
    positions: Tensor,
    rows: Tensor,
    strides: tuple[int, int],
    taps: int,
    pools: tuple[int, int],
    dtype: torch.dtype,
) -> Tensor:
    """Return the dot product (B, W, K) of each latent's row with its run of `source` (B, N, H); see scatter_runs."""
    _, frames, bins = source.shape
    batch, windows, latents = positions.shape
    shape_arguments = sizes(frames, bins, positions, taps, pools)
    source, positions = source.contiguous(), positions.contiguous()
    out = torch.empty(positions.shape, dtype=dtype, device=source.device)
    tile = gather_tile(bins)
    programs = triton.cdiv(batch * windows, tile["BLOCK_W"]) * triton.cdiv(latents, tile["BLOCK_K"])
    launch(
        gather_dots_kernel,
        programs,
        out_ptr=out,
        source_ptr=source,
        positions_ptr=positions,
        rows_ptr=rows,
        total_windows=batch * windows,
        latent_stride=strides[0],
        tap_stride=strides[1],
        **shape_arguments,
        **tile,
    )
    return out


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    pools = pool_range(frames, values.shape[1])
    return scatter_runs(values, positions, w_dec.transpose(0, 1), frames, pools, values.dtype)


def decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
) -> tuple[Tensor | None, Tensor | None]:
    taps, latents, bins = w_dec.shape
    pools = pool_range(grad_reconstruction.shape[1], values.shape[1])
    grad_values = grad_w = None
    if need_values:
        grad_values = gather_dots(
            source=grad_reconstruction,
            positions=positions,
            rows=w_dec.contiguous(),
            strides=(bins, latents * bins),
            taps=taps,
            pools=pools,
            dtype=values.dtype,
        )
    if need_w:
        grad_w = accumulate_runs(
            source=grad_reconstruction,
            amplitudes=values,
            positions=positions,
            like=w_dec,
            strides=(bins, latents * bins, 1),
            pools=pools,
        )
    return grad_values, grad_w
