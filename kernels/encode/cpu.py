"""encode on the CPU: normalisation, convolution, ReLU, pool and argmax in one pass over tiles of frames.

A tile of frames is normalised into a scratch that lies in the cache. There the M frames under a filter are one
contiguous run of M*H numbers, so an output is the dot product of two contiguous runs; sixteen of them (4 frames x 4
latents) are summed at once in scalars that the compiler turns into vector registers. No activation is stored: each
is compared with the best of its window and forgotten.
"""

import numpy as np
import torch
from torch import Tensor

from ..jit import inlined, kernel
from ..runs import accumulate_runs, arrays, scatter_runs
from ..shapes import window_count
from ..threads import spread

TILE = 64  # frames: with M 9 and H 32 the scratch takes 9 KB


@inlined
def _offer(values, positions, item, p, k, z, n):
    """Let activation z of frame n stand for its window where it is the largest so far, or NaN."""
    if z > values[item, p, k] or z != z:
        values[item, p, k] = z
        positions[item, p, k] = n


@kernel
def _encode(first, last, values, positions, x, rows, pool, mean, inverse, before):
    frames, bins = x.shape[1], x.shape[2]
    windows, latents = values.shape[1], values.shape[2]
    length = rows.shape[1]
    taps = length // bins
    scratch = np.empty((TILE + taps - 1) * bins, dtype=x.dtype)
    zero = x.dtype.type(0)
    for unit in range(first, last):
        item, p_first, p_last = _windows_of(unit, windows, pool)
        for p in range(p_first, p_last):
            for k in range(latents):
                values[item, p, k] = 0
                positions[item, p, k] = p * pool
        frames_last = min(p_last * pool, frames)
        for begin in range(p_first * pool, frames_last, TILE):
            end = min(begin + TILE, frames_last)
            _normalise(scratch, x, item, begin - before, mean, inverse)
            for k in range(0, rows.shape[0], 4):
                w0, w1, w2, w3 = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
                for n in range(begin, end, 4):
                    at = (n - begin) * bins
                    x0 = scratch[at : at + length]
                    x1 = scratch[at + bins : at + bins + length]
                    x2 = scratch[at + 2 * bins : at + 2 * bins + length]
                    x3 = scratch[at + 3 * bins : at + 3 * bins + length]
                    s00 = s01 = s02 = s03 = zero
                    s10 = s11 = s12 = s13 = zero
                    s20 = s21 = s22 = s23 = zero
                    s30 = s31 = s32 = s33 = zero
                    for j in range(length):
                        a, b, c, d = x0[j], x1[j], x2[j], x3[j]
                        e, f, g, h = w0[j], w1[j], w2[j], w3[j]
                        s00 += a * e
                        s01 += a * f
                        s02 += a * g
                        s03 += a * h
                        s10 += b * e
                        s11 += b * f
                        s12 += b * g
                        s13 += b * h
                        s20 += c * e
                        s21 += c * f
                        s22 += c * g
                        s23 += c * h
                        s30 += d * e
                        s31 += d * f
                        s32 += d * g
                        s33 += d * h
                    block = (
                        (s00, s01, s02, s03),
                        (s10, s11, s12, s13),
                        (s20, s21, s22, s23),
                        (s30, s31, s32, s33),
                    )
                    for i in range(min(4, end - n)):
                        p = (n + i) // pool
                        z = block[i]
                        for q in range(min(4, latents - k)):
                            _offer(values, positions, item, p, k + q, z[q], n + i)


@inlined
def _windows_of(unit, windows, pool):
    """The item of a unit and its windows: as many whole windows as a tile holds, and at least one."""
    per_unit = max(1, TILE // pool)
    per_item = (windows + per_unit - 1) // per_unit
    first = (unit % per_item) * per_unit
    return unit // per_item, first, min(first + per_unit, windows)


@inlined
def _normalise(scratch, x, item, begin, mean, inverse):
    """Fill the scratch with normalised frames from `begin` on, zeros outside the recording."""
    frames, bins = x.shape[1], x.shape[2]
    for i in range(scratch.size // bins):
        n = begin + i
        row = scratch[i * bins : (i + 1) * bins]
        if n < 0 or n >= frames:
            row[:] = 0
            continue
        source = x[item, n]
        for h in range(bins):
            row[h] = (source[h] - mean[h]) * inverse[h]


def _rows(w_enc: Tensor) -> Tensor:
    """(M, H, K) -> (K, M*H), flipped in time: entry [k, i*H + h] meets bin h of the i-th frame of a run."""
    return w_enc.detach().flip(0).permute(2, 0, 1).reshape(w_enc.shape[2], -1).contiguous()


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None
) -> tuple[Tensor, Tensor]:
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    rows = torch.nn.functional.pad(_rows(w_enc), (0, 0, 0, -latents % 4))
    mean = x.new_zeros(bins) if mean is None else mean
    inverse = x.new_ones(bins) if std is None else 1.0 / std
    values = torch.empty(batch, windows, latents, dtype=x.dtype)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32)
    before = taps - 1 - (taps - 1) // 2
    units = batch * window_count(windows, max(1, TILE // pool))
    spread(_encode, units, *arrays(values, positions, x, rows), pool, *arrays(mean, inverse), before)
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
) -> tuple[Tensor | None, Tensor | None]:
    _, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    before = taps - 1 - (taps - 1) // 2
    live = torch.where(values > 0, grad_values, 0)
    inverse = None if std is None else 1.0 / std
    grad_x = grad_w = None
    if need_x:
        grad_x = scatter_runs(live, positions, _rows(w_enc), frames, bins, before, (pool, pool), inverse)
    if need_w:
        summed = accumulate_runs(x, live, positions, taps, before, mean, inverse)
        grad_w = summed.view(latents, taps, bins).permute(1, 2, 0).flip(0).contiguous()
    return grad_x, grad_w
