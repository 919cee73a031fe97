"""Implementations of the ops: a folder for each op, and a module in it for each back-end.

An implementation is a module (`eager.py`, `cpu.py`, `triton.py`, `cuda.py`) with one function for each pass of its op,
named as the pass. The folders `_eager`, `_cpu`, `_triton` and `_cuda` hold code that several ops share. All
implementations of a pass have the same signature:

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
    train_steps       runs, first, steps -> losses; the runs' weights and states are updated in place
                      (a module of this op also has refusal(runs) -> the reason why it cannot run them | None)

A candidate of `partae verify` may lack the argument negative_slope; its row then says that it was checked without.

`partae_fast.functional` documents and checks the shapes. An implementation may assume that shapes, types and devices
match, but not that inputs are contiguous: their strides may be arbitrary, or 0. It does not modify its inputs. It
returns contiguous tensors without a graph, in memory that it shares with no input and no earlier result. It must be
safe to call from several threads. NaN and infinity propagate, and results are accurate to the precision of their type.
On the CPU decode raises ValueError for a position outside its window; on a GPU the numbers that such a position
touches become NaN. The mathematics of each pass is in `partae_fast.reference`.
"""

from .registry import OPS, Backend, BackendUnavailable, backends, dispatch, implementation, resolve

__all__ = ["OPS", "Backend", "BackendUnavailable", "backends", "dispatch", "implementation", "resolve"]
