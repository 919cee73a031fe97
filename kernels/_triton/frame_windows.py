# pyright: reportPossiblyUnboundVariable=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""Sums over runs of frames on a GPU, in Triton, for the sparse passes of encode and decode.

Bins are contiguous, so the M frames under a filter are one contiguous run of M*H numbers. A latent whose maximum is at
frame t has the run of the M frames from t - before on, before = M // 2 (on the CPU: `_cpu/frame_windows.py`).

    scatter_runs      out[run(t)] += amplitude * row[k]        decode; encode's gradient of x
    accumulate_runs   row[k] += amplitude * source[run(t)]     the gradients of both weights
"""

# Row k is the filter of latent k in the order of the frames: for encode from the last tap to the first.
# `accumulate_runs` has its tap i, bin h at `k * latent_stride + i * tap_stride + h * bin_stride`, in the layout of the
# weights; encode passes its last tap and a negative tap_stride.
#
# Frames outside the recording are skipped. An amplitude of 0 adds nothing. A position outside the range of its window
# makes its dot product, its row and the tiles that its window can reach NaN; so does an amplitude that is not finite.

import torch
from torch import Tensor

from .common import add_up, check_counts, launch, power_of_two, tl, triton


@triton.jit
def legal_positions(offs_t, window, frames, pool_least, pool_most):
    """Return whether offs_t is a frame that `window` may have. The bounds are below 2 N, so 32 bits hold them."""
    return (offs_t >= window * pool_least) & (offs_t < tl.minimum(frames, (window + 1) * pool_most))


def sizes(frames: int, bins: int, positions: Tensor, taps: int, pools: tuple[int, int]) -> dict[str, int]:
    """Return the shape arguments of every kernel over runs, from positions (B, W, K); check them."""
    batch, windows, latents = positions.shape
    check_counts(frames=frames, windows=batch * windows)
    return {
        "frames": frames,
        "windows": windows,
        "taps": taps,
        "bins": bins,
        "latents": latents,
        "before": taps // 2,
        "pool_least": pools[0],
        "pool_most": pools[1],
    }


@triton.jit(do_not_specialize=["frames", "windows", "taps", "before", "pool_least", "pool_most", "tile_frames"])
def scatter_runs_kernel(
    out_ptr,  # (B, N, H)
    amplitudes_ptr,  # (B, W, K)
    positions_ptr,  # (B, W, K) int32
    rows_ptr,  # (K, M * H)
    divisor_ptr,  # (H,) or None
    frames,  # N
    windows,  # W
    taps,  # M
    bins,  # H
    latents,  # K
    before,
    pool_least,
    pool_most,
    tile_frames,  # frames in a tile
    DIVIDE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_F: tl.constexpr,
):
    bin_blocks = tl.cdiv(tile_frames * bins, BLOCK_F)  # 1 unless a single frame exceeds BLOCK_F
    frame_blocks = tl.cdiv(frames, tile_frames)
    tile = tl.program_id(0) // bin_blocks
    item = (tile // frame_blocks).to(tl.int64)
    first_frame = (tile % frame_blocks) * tile_frames
    offs_f = (tl.program_id(0) % bin_blocks) * BLOCK_F + tl.arange(
        0, BLOCK_F
    )  # along the tile: frame f // H, bin f % H
    mask_f = offs_f < tl.minimum(tile_frames, frames - first_frame) * bins

    # The positions of window p lie in [p * pool_least, (p + 1) * pool_most): the windows whose runs can reach the tile.
    first_window = tl.maximum(first_frame + before - taps + 1, 0) // pool_most
    last_window = tl.minimum((first_frame + tile_frames - 1 + before) // pool_least, windows - 1)

    # Each of BLOCK_K latents has its own sums until the end, so no step waits for a reduction.
    sums = tl.zeros((BLOCK_K, BLOCK_F), tl.float32)
    for window in range(first_window, last_window + 1):
        window_offset = (item * windows + window) * latents
        for latent_start in range(0, latents, BLOCK_K):
            offs_k = latent_start + tl.arange(0, BLOCK_K)
            mask_k = offs_k < latents
            amplitude = tl.load(amplitudes_ptr + window_offset + offs_k, mask=mask_k, other=0.0).to(tl.float32)
            offs_t = tl.load(positions_ptr + window_offset + offs_k, mask=mask_k, other=0)
            legal = legal_positions(offs_t, window, frames, pool_least, pool_most)
            amplitude = tl.where(legal | ~mask_k, amplitude, float("nan"))
            # The start of the run in the tile. A run that adds nothing is placed before the tile. A run beyond the
            # clamps misses the tile too; without them the product with H could overflow.
            start = tl.where(legal & (amplitude != 0), offs_t - before - first_frame, -taps)
            start = tl.minimum(tl.maximum(start, -taps), tile_frames) * bins
            offs_j = offs_f[None, :] - start[:, None]  # (BLOCK_K, BLOCK_F), along the run
            row_ptrs = rows_ptr + (offs_k * (taps * bins) - start).to(tl.int64)
            row = tl.load(  # one unsigned comparison: 0 <= j < M * H
                row_ptrs[:, None] + offs_f[None, :],
                mask=offs_j.to(tl.uint32, bitcast=True) < taps * bins,
                other=0.0,
            )
            sums += amplitude[:, None] * row.to(tl.float32)

    out = tl.sum(sums, axis=0)  # (BLOCK_F,)
    if DIVIDE:
        out = out / tl.load(divisor_ptr + offs_f % bins, mask=mask_f, other=1.0).to(tl.float32)
    out_ptrs = out_ptr + (item * frames + first_frame) * bins + offs_f
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=mask_f)


def scatter_tile(bins: int) -> dict[str, int]:
    """Return block sizes and warps. About 8 frames, so that few windows reach a tile and few of their runs miss it.

    One warp holds the tile, so that the sum over its latents stays within a thread.
    """
    block_f = power_of_two(max(bins, min(8 * bins, 256)), 32, 512)
    return {"BLOCK_K": 2048 // block_f, "BLOCK_F": block_f, "num_warps": 1}


def scatter_runs(
    amplitudes: Tensor,
    positions: Tensor,
    rows: Tensor,
    frames: int,
    pools: tuple[int, int],
    dtype: torch.dtype,
    divisor: Tensor | None = None,
) -> Tensor:
    """Return the sum (B, N, H) of amplitude * row over all runs, divided by `divisor` (H,) if it is not None.

    `rows` (K, M, H) are the filters in the order of the frames; `pools` are the smallest and the largest possible pool.
    """
    _, taps, bins = rows.shape
    batch = len(amplitudes)
    shape_arguments = sizes(frames, bins, positions, taps, pools)
    amplitudes, positions, rows = amplitudes.contiguous(), positions.contiguous(), rows.contiguous()
    out = torch.empty(batch, frames, bins, dtype=dtype, device=amplitudes.device)
    tile = scatter_tile(bins)
    tile_frames = max(1, tile["BLOCK_F"] // bins)
    programs = batch * triton.cdiv(frames, tile_frames) * triton.cdiv(tile_frames * bins, tile["BLOCK_F"])
    launch(
        scatter_runs_kernel,
        programs,
        out_ptr=out,
        amplitudes_ptr=amplitudes,
        positions_ptr=positions,
        rows_ptr=rows,
        divisor_ptr=None if divisor is None else divisor.contiguous(),
        tile_frames=tile_frames,
        DIVIDE=divisor is not None,
        **shape_arguments,
        **tile,
    )
    return out


@triton.jit(
    do_not_specialize=[
        *(
            "frames",
            "windows",
            "total_windows",
            "windows_per_part",
            "taps",
            "before",
            "pool_least",
            "pool_most",
        )
    ]
)
def accumulate_runs_kernel(
    partials_ptr,  # (parts, M * H * K): each in the layout of the weights
    source_ptr,  # (B, N, H)
    amplitudes_ptr,  # (B, W, K)
    positions_ptr,  # (B, W, K) int32
    mean_ptr,  # (H,) or None
    std_ptr,  # (H,) or None
    frames,  # N
    windows,  # W
    total_windows,  # B * W
    windows_per_part,
    taps,  # M
    bins,  # H
    latents,  # K
    before,
    pool_least,
    pool_most,
    latent_stride,
    tap_stride,
    bin_stride,
    NORMALISE: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_J: tl.constexpr,
):
    latent_blocks = tl.cdiv(latents, BLOCK_K)
    run_blocks = tl.cdiv(taps * bins, BLOCK_J)
    part = tl.program_id(0) // (latent_blocks * run_blocks)
    block = tl.program_id(0) % (latent_blocks * run_blocks)
    offs_k = (block // run_blocks) * BLOCK_K + tl.arange(0, BLOCK_K)
    offs_j = (block % run_blocks) * BLOCK_J + tl.arange(0, BLOCK_J)  # along the run: tap j // H, bin j % H
    tap = offs_j // bins
    offs_h = offs_j % bins
    mask_k = offs_k < latents
    mask_j = offs_j < taps * bins
    if NORMALISE:
        mean = tl.load(mean_ptr + offs_h, mask=mask_j, other=0.0).to(tl.float32)
        scale = 1.0 / tl.load(std_ptr + offs_h, mask=mask_j, other=1.0).to(tl.float32)

    sums = tl.zeros((BLOCK_K, BLOCK_J), tl.float32)
    first_window = part * windows_per_part
    window = first_window % windows
    item_offset = (first_window // windows).to(tl.int64) * frames * bins
    for step in range(windows_per_part):
        offs_w = first_window + step
        latent_offset = offs_w.to(tl.int64) * latents
        mask_w = offs_k < tl.where(offs_w < total_windows, latents, 0)  # (BLOCK_K,)
        amplitude = tl.load(amplitudes_ptr + latent_offset + offs_k, mask=mask_w, other=0.0).to(tl.float32)
        offs_t = tl.load(positions_ptr + latent_offset + offs_k, mask=mask_w, other=0)
        legal = legal_positions(offs_t, window, frames, pool_least, pool_most)
        amplitude = tl.where(legal | ~mask_w, amplitude, float("nan"))
        start = tl.where(legal, offs_t, window * pool_least) - before
        run_ptrs = source_ptr + item_offset + start.to(tl.int64)[:, None] * bins + offs_j[None, :]
        active = (amplitude != 0)[:, None] & mask_j[None, :]  # (BLOCK_K, BLOCK_J)
        # Most windows' runs lie inside their item whatever the position, and need no mask on frames.
        if (window * pool_least >= before) & ((window + 1) * pool_most + taps - before - 1 <= frames):
            run = tl.load(run_ptrs, mask=active, other=0.0).to(tl.float32)
            if NORMALISE:
                run = run - mean[None, :]
        else:
            offs_n = start[:, None] + tap[None, :]
            inside = (offs_n >= 0) & (offs_n < frames) & active
            run = tl.load(run_ptrs, mask=inside, other=0.0).to(tl.float32)
            if NORMALISE:
                run = tl.where(inside, run - mean[None, :], 0.0)
        sums += amplitude[:, None] * run
        window += 1
        item_offset += tl.where(window == windows, frames, 0).to(tl.int64) * bins
        window = tl.where(window == windows, 0, window)
    if NORMALISE:
        sums *= scale[None, :]

    partial_ptr = partials_ptr + part.to(tl.int64) * (taps * bins * latents)
    offs_out = offs_k[:, None] * latent_stride + (tap * tap_stride + offs_h * bin_stride)[None, :]
    tl.store(partial_ptr + offs_out, sums, mask=mask_k[:, None] & mask_j[None, :])


def accumulate_tile(bins: int, latents: int, taps: int) -> dict[str, int]:
    """Return block sizes and warps: a warp takes 128 consecutive numbers of one latent's run at a time."""
    block_j = power_of_two(taps * bins, 16, 128)
    return {"BLOCK_K": power_of_two(latents, 4, 2048 // block_j), "BLOCK_J": block_j, "num_warps": 4}


def part_count(total_windows: int, weights: int) -> int:
    """Return the number of partial sums of a weight gradient, which shapes alone determine, and so its bits.

    A part has 8 windows or more. There are enough parts to fill a GPU, in at most 32 MB unless there are 16 or fewer.
    """
    return min(triton.cdiv(total_windows, 8), 256, max(16, 2**23 // weights))


def accumulate_runs(
    source: Tensor,
    amplitudes: Tensor,
    positions: Tensor,
    like: Tensor,
    strides: tuple[int, int, int],
    pools: tuple[int, int],
    mean: Tensor | None = None,
    std: Tensor | None = None,
) -> Tensor:
    """Return for each row the sum of amplitude * (source run - mean) / std, shaped as the weights `like` (M, ., .).

    `strides` are the latent_stride, tap_stride and bin_stride of `like`; a negative tap_stride starts at the last tap.
    Without mean and std (H,) runs are not normalised. Frames outside the recording count as the mean.
    """
    batch, frames, bins = source.shape
    windows, latents = amplitudes.shape[1:]
    taps, weights = like.shape[0], like.numel()
    shape_arguments = sizes(frames, bins, positions, taps, pools)
    source, amplitudes, positions = source.contiguous(), amplitudes.contiguous(), positions.contiguous()
    mean, std = (None, None) if mean is None or std is None else (mean.contiguous(), std.contiguous())
    windows_per_part = triton.cdiv(batch * windows, part_count(batch * windows, weights))
    parts = triton.cdiv(batch * windows, windows_per_part)
    partials = torch.empty(parts, *like.shape, dtype=torch.float32, device=source.device)
    tile = accumulate_tile(bins, latents, taps)
    blocks = triton.cdiv(latents, tile["BLOCK_K"]) * triton.cdiv(taps * bins, tile["BLOCK_J"])
    launch(
        accumulate_runs_kernel,
        parts * blocks,
        partials_ptr=partials if strides[1] > 0 else partials[:, -1],
        source_ptr=source,
        amplitudes_ptr=amplitudes,
        positions_ptr=positions,
        mean_ptr=mean,
        std_ptr=std,
        total_windows=batch * windows,
        windows_per_part=windows_per_part,
        latent_stride=strides[0],
        tap_stride=strides[1],
        bin_stride=strides[2],
        NORMALISE=mean is not None,
        **shape_arguments,
        **tile,
    )
    return add_up(partials, torch.empty(like.shape, dtype=like.dtype, device=like.device))
