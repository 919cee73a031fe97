"""One folder for each op, and in it every implementation of that op.

The folders `_eager`, `_cpu`, `_triton` and `_cuda` hold what the implementations of several ops share.

An implementation is a module (`eager.py`, `cpu.py`, `triton.py`, `cuda.py`) with one function for each
pass of its op, named as the pass. All implementations of a pass take and return the same things:

    encode            x, w_enc, pool, mean, std, negative_slope=0.0 -> values, positions
    encode_backward   grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, negative_slope=0.0
                        -> grad_x | None, grad_w_enc | None
    decode            values, positions, w_dec, frames -> reconstruction
    decode_backward   grad_reconstruction, values, positions, w_dec, need_values, need_w
                        -> grad_values | None, grad_w_dec | None
    conv2d_pool       x, weight, bias, pool, relu -> values, positions
    conv2d_pool_backward      grad_values, x, weight, values, positions, pool, relu, need_x, need_w, need_bias
                        -> grad_x | None, grad_weight | None, grad_bias | None
    upsample_conv2d   x, weight, bias, scale, relu -> out
    upsample_conv2d_backward  grad_out, x, weight, out, scale, relu, need_x, need_w, need_bias
                        -> grad_x | None, grad_weight | None, grad_bias | None
    partitioned_loss  reconstruction, target, values, noise_only, foreground, penalty
                        -> loss, grad_reconstruction, grad_values
    dense             x, weight, bias, activation, dropout -> output
    dense_backward    grad_output, output, x, weight, activation, dropout, need_x, need_weight, need_bias
                        -> grad_x | None, grad_weight | None, grad_bias | None
    curro_loss        signal, noise, target, noise_only -> loss, grad_signal, grad_noise
    contrastive_loss  embeddings, table, sources, labels -> loss, grad_embeddings, grad_table
    affinity_loss     embeddings, labels, weights | None, sources, variant -> loss, grad_embeddings
    ratio_mask_loss   logits, mixture, sources -> loss, grad_logits
    normals           seed, step, items, group, samples, device -> white Gaussian noise (items, samples)
    train_steps       runs, first, steps -> losses; the runs' weights and states are changed
                      (a module of this op also has refusal(runs) -> why it cannot serve them | None)

A candidate of `partae verify` may lack negative_slope: it is then checked without one, and its row says so.

Shapes are those of `partae_fast.functional`, which checks them. An implementation may rely on shapes, types and
devices that agree, not on contiguity: inputs may be strided, or have strides of 0. It leaves its inputs as they are,
and returns contiguous tensors without a graph, in memory that is neither an input's nor an earlier result's. It may be
called by several threads at once. NaN and infinity keep their meaning, and an output of a type's width is right to what
that type holds. On the CPU decode raises ValueError for a position outside its window; on a GPU it makes NaN of what
the position touches. The maths of each pass is in `partae_fast.reference`.
"""

from .registry import OPS, Backend, BackendUnavailable, backends, implementation, resolve

__all__ = ["OPS", "Backend", "BackendUnavailable", "backends", "implementation", "resolve"]
