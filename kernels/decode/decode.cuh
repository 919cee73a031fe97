// decode on a GPU: each pooled latent writes its filter onto the M frames around its position.
//
//     r[n, h] = sum_p sum_k  w_dec[n - positions[p, k] + M / 2, k, h] values[p, k]   where that tap exists
//
// The unpooled latents are never built. A block collects the latents that reach its frames, in a fixed order, so nothing
// is added atomically. `../_cuda/frame_windows.cuh` describes the kernels, which encode's gradients share.
//
// Macros by -D: those of `frame_windows.cuh`.
#pragma once

#include "../_cuda/common.cuh"
#include "../_cuda/frame_windows.cuh"

#ifndef COMPOSED

KERNEL(THREADS, 1) decode(Scatter launch) {
#ifdef SCATTER_TILE
    const ScatterTile t = {SCATTER_TILE};
#else
    const ScatterTile t = launch.tile;
#endif
    scatter_runs(shared_memory(), launch, t);
}

// With e the gradient of r, from the same pass over e: the gradient of values, the dot of each latent's filter with its
// run of e; and that of w_dec in parts, the sum of the runs times the values.
KERNEL(THREADS, 1) decode_gradients(Reduce launch) {
#ifdef REDUCE_TILE
    const ReduceTile t = {REDUCE_TILE};
#else
    const ReduceTile t = launch.tile;
#endif
    reduce_runs(shared_memory(), launch, t);
}

KERNEL(THREADS, 1) decode_add_up(AddUp launch) { add_up(shared_memory(), launch); }

#endif  // COMPOSED
