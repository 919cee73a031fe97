"""encode on a GPU, in Triton: normalise, convolve, rectify, pool and argmax in one kernel.

A tile of the forward pass is BLOCK_W pool windows, from whichever items, of BLOCK_P frames each; a longer pool is gone
through BLOCK_P frames at a time. It is a matrix product over taps and bins whose (rows, latents) result is reduced
to one row a window before it leaves the registers, so the (B, N, K) activations are never stored. The backward pass
is sparse: see `triton_runs`.
"""

import torch
from torch import Tensor

from .. import triton_runs
from ..shapes import window_count
from ..triton_common import check_counts, launch, power_of_two, tensor_cores, tl, triton


@triton.jit(do_not_specialize=["frames", "windows", "total_windows", "pool", "taps"])
def encode_kernel(
    x_ptr,  # (B, N, H)
    mean_ptr,  # (H,) or None
    std_ptr,  # (H,) or None
    w_ptr,  # (M, H, K)
    values_ptr,  # (B, W, K)
    positions_ptr,  # (B, W, K) int32
    frames,  # N
    windows,  # W
    total_windows,  # B * W
    pool,  # P
    taps,  # M
    bins,  # H
    latents,  # K
    NORMALISE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    ROWS: tl.constexpr = BLOCK_W * BLOCK_P
    NAN_KEY: tl.constexpr = 0x7FC00000  # the bits of a NaN: above those of infinity
    latent_blocks = tl.cdiv(latents, BLOCK_K)
    tile = tl.program_id(0) // latent_blocks
    offs_k = (tl.program_id(0) % latent_blocks) * BLOCK_K + tl.arange(0, BLOCK_K)
    mask_k = offs_k < latents

    # Row r of the tile is frame r % BLOCK_P (of the chunk) of window r // BLOCK_P.
    rows = tl.arange(0, ROWS)
    row_window = tile * BLOCK_W + rows // BLOCK_P  # (ROWS,)
    row_item = (row_window // windows).to(tl.int64)
    row_start = (row_window % windows) * pool
    last_run_frame = (taps - 1) // 2  # the run under frame n ends at n + c; tap 0 meets its end

    best_key = tl.full((BLOCK_W, BLOCK_K), -1, tl.int32)
    best_inside = tl.zeros((BLOCK_W, BLOCK_K), tl.int32)
    for chunk in range(0, pool, BLOCK_P):
        row_inside = chunk + rows % BLOCK_P
        row_frame = row_start + row_inside
        row_used = (row_window < total_windows) & (row_inside < pool) & (row_frame < frames)

        z = tl.zeros((ROWS, BLOCK_K), tl.float32)
        for bin_start in range(0, bins, BLOCK_H):
            offs_h = bin_start + tl.arange(0, BLOCK_H)
            mask_h = offs_h < bins
            if NORMALISE:
                mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0).to(tl.float32)
                scale = 1.0 / tl.load(std_ptr + offs_h, mask=mask_h, other=1.0).to(tl.float32)
            x_ptrs = x_ptr + (row_item * frames + row_frame + last_run_frame)[:, None] * bins + offs_h[None, :]
            w_ptrs = w_ptr + offs_h[:, None] * latents + offs_k[None, :]
            for tap in range(taps):
                offs_n = row_frame + (last_run_frame - tap)
                mask_n = row_used & (offs_n >= 0) & (offs_n < frames)
                x = tl.load(x_ptrs, mask=mask_n[:, None] & mask_h[None, :], other=0.0)  # (ROWS, BLOCK_H)
                w = tl.load(w_ptrs, mask=mask_h[:, None] & mask_k[None, :], other=0.0)  # (BLOCK_H, BLOCK_K)
                if NORMALISE:
                    # Outside the recording x is 0 and must stay 0: no mean is taken off there.
                    inside = mask_n.to(tl.float32)
                    x = ((x.to(tl.float32) - inside[:, None] * mean[None, :]) * scale[None, :]).to(x.dtype)
                z = tl.dot(x, w.to(x.dtype), z, input_precision=PRECISION)
                x_ptrs -= bins
                w_ptrs += bins * latents

        # Non-negative floats order as their bits do, so one integer maximum rectifies, keeps a NaN, and finds the frame.
        key = tl.where(z > 0, z.to(tl.int32, bitcast=True), 0)
        key = tl.where(z != z, NAN_KEY, key)
        key = tl.where(row_used[:, None], key, -1)
        chunk_key, chunk_inside = tl.max(  # (BLOCK_W, BLOCK_K); the first of equals
            tl.reshape(key, (BLOCK_W, BLOCK_P, BLOCK_K)), axis=1, return_indices=True
        )
        better = chunk_key > best_key
        best_inside = tl.where(better, chunk + chunk_inside, best_inside)
        best_key = tl.where(better, chunk_key, best_key)

    offs_w = tile * BLOCK_W + tl.arange(0, BLOCK_W)
    position = ((offs_w % windows) * pool)[:, None] + best_inside
    offs_out = offs_w.to(tl.int64)[:, None] * latents + offs_k[None, :]
    mask_out = (offs_w < total_windows)[:, None] & mask_k[None, :]
    value = best_key.to(tl.float32, bitcast=True)
    tl.store(values_ptr + offs_out, value.to(values_ptr.dtype.element_ty), mask=mask_out)
    tl.store(positions_ptr + offs_out, position, mask=mask_out)


def chunk_of(pool: int) -> int:
    """BLOCK_P: the largest power of two up to 64 in whose steps a pool is covered with at most a quarter to spare."""
    return max(p for p in (1, 2, 4, 8, 16, 32, 64) if 4 * p * -(-pool // p) <= 5 * pool)


def tile_of(bins: int, latents: int, pool: int, itemsize: int, on_tensor_cores: bool) -> dict[str, int]:
    """Block sizes and warps, from shapes and type alone: the number of items and frames changes none of them."""
    rows = 128 if on_tensor_cores else 64
    chunk = chunk_of(pool)
    return {
        "BLOCK_W": rows // chunk,
        "BLOCK_P": chunk,
        "BLOCK_H": power_of_two(bins, 16, 128 // itemsize),
        "BLOCK_K": power_of_two(latents, 16, 64),
        "num_warps": 4,
        "num_stages": 3,
    }


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    pool = min(pool, frames)
    check_counts(frames=frames, windows=batch * windows)
    x, w_enc = x.contiguous(), w_enc.contiguous()
    mean, std = (None, None) if mean is None or std is None else (mean.contiguous(), std.contiguous())
    values = torch.empty(batch, windows, latents, dtype=x.dtype, device=x.device)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32, device=x.device)
    tile = tile_of(bins, latents, pool, x.element_size(), tensor_cores(x))
    programs = triton.cdiv(batch * windows, tile["BLOCK_W"]) * triton.cdiv(latents, tile["BLOCK_K"])
    launch(
        encode_kernel,
        programs,
        *(x, mean, std, w_enc, values, positions),
        *(frames, windows, batch * windows, pool, taps, bins, latents),
        NORMALISE=mean is not None,
        PRECISION="tf32" if tensor_cores(x) else "ieee",
        **tile,
    )
    return values, positions
