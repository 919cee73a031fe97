# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false, reportArgumentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""encode on a GPU, in Triton: normalise, convolve, rectify, pool and argmax in one kernel.

A tile of the forward pass has BLOCK_W pool windows, of any items, and BLOCK_P frames of each at a time. It is a matrix
product over taps and bins, whose (rows, latents) result is reduced to one row for each window in registers, so the
(B, N, K) activations are never stored. The backward pass is sparse: see `_triton/frame_windows.py`.
"""

import torch
from torch import Tensor

from .._triton import frame_windows
from .._triton.common import check_counts, launch, power_of_two, precision_of, product, tensor_cores, tl, triton
from .._triton.pool import LOWEST_KEY, NAN_KEY, chunk_of, ordered
from ..shapes import window_count


@triton.jit
def _convolve(
    z,  # (ROWS, BLOCK_K)
    run_ptrs,  # (ROWS,): bin 0 of the last frame of each row's run, which tap 0 multiplies
    row_frame,  # (ROWS,)
    row_used,  # (ROWS,)
    mean_ptr,
    std_ptr,
    w_ptr,
    offs_k,
    frames,
    taps,
    bins,
    latents,
    w_tap_stride,
    w_bin_stride,
    w_latent_stride,
    NORMALISE: tl.constexpr,
    PRECISION: tl.constexpr,
    EDGE: tl.constexpr,
    ONE_BIN_BLOCK: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    """Return z plus the product of each row's run with the filters. Without EDGE every run lies inside its item."""
    bin_stop = BLOCK_H if ONE_BIN_BLOCK else bins
    for bin_start in range(0, bin_stop, BLOCK_H):
        offs_h = bin_start + tl.arange(0, BLOCK_H)
        mask_h = offs_h < bins
        mask_w = mask_h[:, None] & (offs_k < latents)[None, :]
        if NORMALISE:
            mean = tl.load(mean_ptr + offs_h, mask=mask_h, other=0.0).to(tl.float32)
            std = tl.load(std_ptr + offs_h, mask=mask_h, other=1.0).to(tl.float32)
            scale = 1.0 / tl.where(std > 0, std, float("nan"))  # raising would synchronize the stream
        x_ptrs = run_ptrs[:, None] + offs_h[None, :]
        w_ptrs = w_ptr + offs_h[:, None] * w_bin_stride + offs_k[None, :] * w_latent_stride
        for tap in range(taps):
            mask_x = mask_h[None, :]
            if EDGE:
                offs_n = row_frame + ((taps - 1) // 2 - tap)
                inside = row_used & (offs_n >= 0) & (offs_n < frames)
                mask_x = mask_x & inside[:, None]
            x = tl.load(x_ptrs, mask=mask_x, other=0.0)  # (ROWS, BLOCK_H)
            w = tl.load(w_ptrs, mask=mask_w, other=0.0)  # (BLOCK_H, BLOCK_K)
            if NORMALISE:
                centred = x.to(tl.float32) - mean[None, :]
                if EDGE:
                    centred = tl.where(inside[:, None], centred, 0.0)  # zero padding follows normalisation
                x = (centred * scale[None, :]).to(x.dtype)
            z = product(x, w.to(x.dtype), z, PRECISION)
            x_ptrs -= bins
            w_ptrs += w_tap_stride
    return z


@triton.jit(do_not_specialize=["frames", "windows", "total_windows", "pool", "taps"])
def encode_kernel(
    x_ptr,  # (B, N, H)
    mean_ptr,  # (H,) or None
    std_ptr,  # (H,) or None
    w_ptr,  # w_enc[m, h, k] at m * w_tap_stride + h * w_bin_stride + k * w_latent_stride
    values_ptr,  # (B, W, K)
    positions_ptr,  # (B, W, K) int32
    frames,  # N
    windows,  # W
    total_windows,  # B * W
    pool,  # P
    taps,  # M
    bins,  # H
    latents,  # K
    w_tap_stride,
    w_bin_stride,
    w_latent_stride,
    negative_slope,  # the rectifier's slope below 0, or None
    NORMALISE: tl.constexpr,
    PRECISION: tl.constexpr,
    ONE_CHUNK: tl.constexpr,  # P <= BLOCK_P: no loop over chunks saves a third of the registers
    ONE_BIN_BLOCK: tl.constexpr,  # H <= BLOCK_H, likewise
    BLOCK_W: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    ROWS: tl.constexpr = BLOCK_W * BLOCK_P
    NO_KEY: tl.constexpr = -1 if negative_slope is None else LOWEST_KEY  # below the key of every frame
    latent_blocks = tl.cdiv(latents, BLOCK_K)
    tile = tl.program_id(0) // latent_blocks
    offs_k = (tl.program_id(0) % latent_blocks) * BLOCK_K + tl.arange(0, BLOCK_K)
    mask_k = offs_k < latents

    # Row r of the tile is frame r % BLOCK_P (of the chunk) of window r // BLOCK_P.
    rows = tl.arange(0, ROWS)
    row_window = tile * BLOCK_W + rows // BLOCK_P  # (ROWS,)
    row_item = (row_window // windows).to(tl.int64)
    row_start = (row_window % windows) * pool
    before = taps // 2  # the run under frame n is frames n - before to n + after
    after = taps - 1 - before

    best_key = tl.full((BLOCK_W, BLOCK_K), NO_KEY, tl.int32)
    best_inside = tl.zeros((BLOCK_W, BLOCK_K), tl.int32)
    chunk_stop = BLOCK_P if ONE_CHUNK else pool
    for chunk in range(0, chunk_stop, BLOCK_P):
        row_inside = chunk + rows % BLOCK_P
        row_frame = row_start + row_inside
        row_exists = row_window < total_windows
        run_ptrs = x_ptr + (row_item * frames + row_frame + after) * bins
        whole = row_exists & (row_frame >= before) & (row_frame + after < frames)
        z = tl.zeros((ROWS, BLOCK_K), tl.float32)
        # Most tiles reach no end of a recording and need no mask on frames in the innermost loop.
        if tl.min(whole.to(tl.int32), axis=0) == 1:
            z = _convolve(
                z=z,
                run_ptrs=run_ptrs,
                row_frame=row_frame,
                row_used=row_exists,
                mean_ptr=mean_ptr,
                std_ptr=std_ptr,
                w_ptr=w_ptr,
                offs_k=offs_k,
                frames=frames,
                taps=taps,
                bins=bins,
                latents=latents,
                w_tap_stride=w_tap_stride,
                w_bin_stride=w_bin_stride,
                w_latent_stride=w_latent_stride,
                NORMALISE=NORMALISE,
                PRECISION=PRECISION,
                EDGE=False,
                ONE_BIN_BLOCK=ONE_BIN_BLOCK,
                BLOCK_H=BLOCK_H,
            )
        else:
            z = _convolve(
                z=z,
                run_ptrs=run_ptrs,
                row_frame=row_frame,
                row_used=row_exists,
                mean_ptr=mean_ptr,
                std_ptr=std_ptr,
                w_ptr=w_ptr,
                offs_k=offs_k,
                frames=frames,
                taps=taps,
                bins=bins,
                latents=latents,
                w_tap_stride=w_tap_stride,
                w_bin_stride=w_bin_stride,
                w_latent_stride=w_latent_stride,
                NORMALISE=NORMALISE,
                PRECISION=PRECISION,
                EDGE=True,
                ONE_BIN_BLOCK=ONE_BIN_BLOCK,
                BLOCK_H=BLOCK_H,
            )

        # Non-negative floats are ordered as their bits: one integer maximum rectifies, keeps NaN and finds the frame.
        if negative_slope is None:
            key = tl.where(z > 0, z.to(tl.int32, bitcast=True), 0)
        else:  # negative floats are ordered so once all bits but the sign are inverted; both zeros are made equal
            key = ordered(tl.where(z == 0, 0.0, z).to(tl.int32, bitcast=True))
        key = tl.where(z != z, NAN_KEY, key)
        row_used = row_exists & (row_inside < pool) & (row_frame < frames)
        key = tl.where(row_used[:, None], key, NO_KEY)
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
    if negative_slope is None:
        value = best_key.to(tl.float32, bitcast=True)
    else:
        value = ordered(best_key).to(tl.float32, bitcast=True)
        value = tl.where(value < 0, negative_slope * value, value)
    tl.store(values_ptr + offs_out, value.to(values_ptr.dtype.element_ty), mask=mask_out)
    tl.store(positions_ptr + offs_out, position, mask=mask_out)


def tile_of(bins: int, latents: int, pool: int, itemsize: int, on_tensor_cores: bool) -> dict[str, int]:
    """Return block sizes, warps and stages, which do not depend on the numbers of items and frames.

    64 rows are the unit of a warpgroup's product on sm_90, and give 128 programs at B 16, N 512. Tiles with many
    columns or with loads of single numbers take eight warps: with four, registers spill.
    """
    chunk, block_h, block_k = chunk_of(pool), power_of_two(bins, 16, 128 // itemsize), power_of_two(latents, 16, 64)
    if bins % 16:
        block_h = 16
    # The assembler limits itself to 128 registers for sm_80, and a wide tile whose operands are rounded to TF32 spills.
    registers = {"maxnreg": 160} if on_tensor_cores and itemsize == 4 and block_k > 32 and bins % 16 == 0 else {}
    return {
        "ONE_CHUNK": pool <= chunk,
        "ONE_BIN_BLOCK": bins <= block_h,
        "BLOCK_W": 64 // chunk,
        "BLOCK_P": chunk,
        "BLOCK_H": block_h,
        "BLOCK_K": block_k,
        "num_warps": 8 if block_k > 32 or bins % 16 else 4,
        "num_stages": 3 if on_tensor_cores and (itemsize == 2 or block_k <= 32) else 2,
        **registers,
    }


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, negative_slope: float = 0.0
) -> tuple[Tensor, Tensor]:
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    pool = min(pool, frames)
    check_counts(frames=frames, windows=batch * windows)
    on_tensor_cores = tensor_cores(x, "convolution")
    if on_tensor_cores and x.dtype == torch.float32:
        w_enc = w_enc.transpose(1, 2).contiguous().transpose(1, 2)  # for TF32 the bins of a filter must be contiguous
    else:
        w_enc = w_enc.contiguous()
    x = x.contiguous()
    mean, std = (None, None) if mean is None or std is None else (mean.contiguous(), std.contiguous())
    values = torch.empty(batch, windows, latents, dtype=x.dtype, device=x.device)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32, device=x.device)
    tile = tile_of(bins, latents, pool, x.element_size(), on_tensor_cores)
    programs = triton.cdiv(batch * windows, tile["BLOCK_W"]) * triton.cdiv(latents, tile["BLOCK_K"])
    launch(
        encode_kernel,
        programs,
        x_ptr=x,
        mean_ptr=mean,
        std_ptr=std,
        w_ptr=w_enc,
        values_ptr=values,
        positions_ptr=positions,
        frames=frames,
        windows=windows,
        total_windows=batch * windows,
        pool=pool,
        taps=taps,
        bins=bins,
        latents=latents,
        w_tap_stride=w_enc.stride(0),
        w_bin_stride=w_enc.stride(1),
        w_latent_stride=w_enc.stride(2),
        negative_slope=negative_slope or None,
        NORMALISE=mean is not None,
        PRECISION=precision_of(x, "convolution"),
        **tile,
    )
    return values, positions


def encode_backward(
    grad_values: Tensor,
    x: Tensor,
    w_enc: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: int,
    mean: Tensor | None,
    std: Tensor | None,
    need_x: bool,
    need_w: bool,
    negative_slope: float = 0.0,
) -> tuple[Tensor | None, Tensor | None]:
    _, bins, latents = w_enc.shape
    pool = min(pool, x.shape[1])
    amplitudes = torch.where(values <= 0, negative_slope * grad_values if negative_slope else 0.0, grad_values)
    grad_x = grad_w = None
    if need_x:
        rows = w_enc.flip(0).permute(2, 0, 1)  # (K, M, H): the taps that multiply a run, from the last to the first
        grad_x = frame_windows.scatter_runs(amplitudes, positions, rows, x.shape[1], (pool, pool), x.dtype, std)
    if need_w:
        grad_w = frame_windows.accumulate_runs(
            source=x,
            amplitudes=amplitudes,
            positions=positions,
            like=w_enc,
            strides=(1, -bins * latents, latents),
            pools=(pool, pool),
            mean=mean,
            std=std,
        )
    return grad_x, grad_w
