"""The sparse passes on a GPU, in Triton, over runs of frames.

With frequency contiguous, the M frames under a filter are one contiguous run of M*H numbers. A latent that won its
window at frame t owns the run of the M frames that start at t - before, before = M // 2. Everything behind the pool is
one of three passes over such runs, whichever op asks (the CPU's are in `runs`):

    scatter_runs      out[run(t)] += amplitude * row[k]        decode; encode's gradient of x
    gather_dots       out = dot(source[run(t)], row[k])        decode's gradient of the values
    accumulate_runs   row[k] += amplitude * source[run(t)]     both gradients of the weights

Row k of a filter is where its taps are: tap i, bin h of it at `k * latent_stride + i * tap_stride + h * bin_stride`. Encode's
filters meet their run from the end, so encode passes its last tap and a negative tap_stride.

Frames outside the recording are skipped. An amplitude of 0 adds nothing. A position outside the range that its
window may have makes NaN of what it touches: its own dot and row, and every frame that its window can reach.
"""

import torch
from torch import Tensor

from .shapes import window_count
from .triton_common import add_up, check_counts, launch, power_of_two, tl, triton


@triton.jit
def _legal(offs_t, window, frames, pool_least, pool_most):
    """Whether position offs_t may be that of `window`; a window number past 2^31 / pool cannot occur with frames < 2^30."""
    return (offs_t >= window * pool_least) & (offs_t < tl.minimum(frames, (window + 1).to(tl.int64) * pool_most))


@triton.jit(do_not_specialize=["frames", "windows", "taps", "before", "pool_least", "pool_most"])
def scatter_runs_kernel(
    out_ptr,  # (B, N, H)
    amplitudes_ptr,  # (B, W, K)
    positions_ptr,  # (B, W, K) int32
    rows_ptr,  # see above, bin_stride 1
    divisor_ptr,  # (H,) or None
    frames,  # N
    windows,  # W
    taps,  # M
    bins,  # H
    latents,  # K
    before,
    pool_least,
    pool_most,
    latent_stride,
    tap_stride,
    DIVIDE: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_H: tl.constexpr,
):
    bin_blocks = tl.cdiv(bins, BLOCK_H)
    frame_blocks = tl.cdiv(frames, BLOCK_N)
    tile = tl.program_id(0) // bin_blocks
    item = (tile // frame_blocks).to(tl.int64)
    first_frame = (tile % frame_blocks) * BLOCK_N
    offs_h = (tl.program_id(0) % bin_blocks) * BLOCK_H + tl.arange(0, BLOCK_H)
    mask_h = offs_h < bins
    offs_n = first_frame + tl.arange(0, BLOCK_N)

    # Window p's positions lie in [p * pool_least, (p + 1) * pool_most): these are the windows whose runs reach the tile.
    first_window = tl.maximum(first_frame + before - taps + 1, 0) // pool_most
    last_window = tl.minimum((first_frame + BLOCK_N - 1 + before) // pool_least, windows - 1)

    # Latents side by side in the tile keep sums of their own until the end, so no step waits for a reduction.
    sums = tl.zeros((BLOCK_N, BLOCK_K, BLOCK_H), tl.float32)
    for window in range(first_window, last_window + 1):
        window_ptr = (item * windows + window) * latents
        for latent_start in range(0, latents, BLOCK_K):
            offs_k = latent_start + tl.arange(0, BLOCK_K)
            mask_k = offs_k < latents
            amplitude = tl.load(amplitudes_ptr + window_ptr + offs_k, mask=mask_k, other=0.0).to(tl.float32)
            offs_t = tl.load(positions_ptr + window_ptr + offs_k, mask=mask_k, other=0)
            legal = _legal(offs_t, window, frames, pool_least, pool_most) | (offs_k >= latents)
            amplitude = tl.where(legal, amplitude, float("nan"))
            start = tl.where(legal, offs_t, 0) - before
            tap = offs_n[:, None] - start[None, :]  # (BLOCK_N, BLOCK_K)
            hit = (tap >= 0) & (tap < taps) & legal[None, :] & (amplitude != 0)[None, :]
            row_ptrs = rows_ptr + offs_k[None, :] * latent_stride + tap * tap_stride
            row = tl.load(  # (BLOCK_N, BLOCK_K, BLOCK_H)
                row_ptrs[:, :, None] + offs_h[None, None, :],
                mask=hit[:, :, None] & mask_h[None, None, :],
                other=0.0,
            ).to(tl.float32)
            factor = tl.where(hit | (amplitude != amplitude)[None, :] & ~legal[None, :], amplitude[None, :], 0.0)
            sums += factor[:, :, None] * row

    out = tl.sum(sums, axis=1)  # (BLOCK_N, BLOCK_H)
    if DIVIDE:
        divisor = tl.load(divisor_ptr + offs_h, mask=mask_h, other=1.0).to(tl.float32)
        out = out / divisor[None, :]
    out_ptrs = out_ptr + (item * frames + offs_n)[:, None] * bins + offs_h[None, :]
    mask_out = (offs_n < frames)[:, None] & mask_h[None, :]
    tl.store(out_ptrs, out.to(out_ptr.dtype.element_ty), mask=mask_out)
