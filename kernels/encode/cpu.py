"""encode on the CPU: normalisation, convolution, rectifier, pool and argmax in one pass over tiles of frames.

A tile of frames is normalised into a buffer in the first-level cache. The M frames under a filter are one contiguous
run of M*H numbers there, so the convolution is a matrix product of overlapping runs with the filters. The sums of a
block of frames and a panel of latents stay in vector registers, a latent in each lane; each frame's activations are
compared with the maximum of their window and then dropped, so no activation is stored.
"""

# A sum runs over (tap, bin) in the same order wherever its tile begins, so the cut into units changes no bit.

import numpy as np
import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.frame_windows import accumulate_runs, scatter_runs
from .._cpu.jit import kernel
from .._cpu.simd import FRAMES, VECTOR_BYTES, convolve_and_pool
from .._cpu.threads import next_unit, spread
from ..shapes import window_count

TILE = 8 * FRAMES  # frames: the scratch takes 9 KB with M 9 and H 32


@kernel
def _encode(counters, values, positions, x, panels, pool, mean, inverse, taps, vectors, negative_slope):
    frames, bins = x.shape[1], x.shape[2]
    windows, latents = values.shape[1], values.shape[2]
    length, width = panels.shape[1], panels.shape[2]
    before = taps - 1 - (taps - 1) // 2
    per_unit = max(1, TILE // pool)  # windows in a tile, at least one
    per_item = (windows + per_unit - 1) // per_unit
    scratch = np.empty((TILE + taps - 1) * bins, dtype=x.dtype)
    best = np.empty((per_unit + 1, width), dtype=x.dtype)  # the last row is for frames past the end of the unit
    where = np.empty((per_unit + 1, width), dtype=np.int32)
    slots = np.empty(TILE, dtype=np.int64)
    floor = x.dtype.type(0.0 if negative_slope == 0 else -np.inf)  # the maximum of a window must exceed it
    unit = next_unit(counters, -1)
    while unit >= 0:
        item = unit // per_item
        p_first = (unit % per_item) * per_unit
        p_last = min(p_first + per_unit, windows)
        end = min(p_last * pool, frames)
        for panel in range(panels.shape[0]):
            for p in range(p_first, p_last):
                best[p - p_first] = floor
                where[p - p_first] = p * pool
            best[per_unit] = 0
            for begin in range(p_first * pool, end, TILE):
                if panel == 0 or pool > TILE:
                    _normalise(scratch, x, item, begin - before, mean, inverse)
                for i in range(TILE):
                    slots[i] = (begin + i) // pool - p_first if begin + i < end else per_unit
                for i in range(0, min(TILE, end - begin), FRAMES):
                    at = panel * length * width
                    if vectors == 1:  # the primitive takes the number of vectors as a literal
                        convolve_and_pool(
                            best, where, slots, i, begin + i, scratch, i * bins, bins, panels, at, length, 1
                        )
                    else:
                        convolve_and_pool(
                            best, where, slots, i, begin + i, scratch, i * bins, bins, panels, at, length, 2
                        )
            for p in range(p_first, p_last):
                for q in range(min(width, latents - panel * width)):
                    top = best[p - p_first, q]
                    values[item, p, panel * width + q] = negative_slope * top if top < 0 else top
                    positions[item, p, panel * width + q] = where[p - p_first, q]
        unit = next_unit(counters, unit)


@kernel
def _normalise(scratch, x, item, begin, mean, inverse):
    """Fill the scratch with normalised frames from `begin` on, and zeros outside the recording."""
    frames, bins = x.shape[1], x.shape[2]
    for i in range(scratch.size // bins):
        n = begin + i
        if n < 0 or n >= frames:
            for h in range(bins):
                scratch[i * bins + h] = 0
        else:
            for h in range(bins):
                scratch[i * bins + h] = (x[item, n, h] - mean[h]) * inverse[h]


def _rows(w_enc: Tensor) -> Tensor:
    """Return (M, H, K) as (K, M*H), flipped in time: [k, i*H + h] multiplies bin h of frame i of a run."""
    return w_enc.detach().flip(0).permute(2, 0, 1).reshape(w_enc.shape[2], -1).contiguous()


def _panels(w_enc: Tensor) -> tuple[np.ndarray, int]:
    """Return (panels, M*H, latents in a panel), flipped in time and zero-padded, and the vectors in a panel."""
    taps, bins, latents = w_enc.shape
    lanes = VECTOR_BYTES // w_enc.element_size()
    vectors = 1 if latents <= lanes else 2
    width = vectors * lanes
    # PyTorch aligns memory to cache lines, so that no vector crosses two.
    panels = torch.empty(-(-latents // width), taps, bins, width, dtype=w_enc.dtype).numpy()
    panels[-1] = 0
    flipped = arrays(w_enc)[0][::-1]
    for panel, first in zip(panels, range(0, latents, width), strict=True):
        panel[:, :, : latents - first] = flipped[:, :, first : first + width]
    return panels.reshape(-1, taps * bins, width), vectors


def encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, negative_slope: float = 0.0
) -> tuple[Tensor, Tensor]:
    batch, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    windows = window_count(frames, pool)
    (source,) = arrays(x)
    kind = source.dtype
    panels, vectors = _panels(w_enc)
    centre = np.zeros(bins, kind) if mean is None else arrays(mean)[0]
    inverse = np.ones(bins, kind) if std is None else 1 / arrays(std)[0]
    values = torch.empty(batch, windows, latents, dtype=x.dtype)
    positions = torch.empty(batch, windows, latents, dtype=torch.int32)
    units = batch * window_count(windows, max(1, TILE // pool))
    work = 2 * x.numel() * taps * latents
    out, slope = (values.numpy(), positions.numpy()), kind.type(negative_slope)
    spread(_encode, units, work, *out, source, panels, pool, centre, inverse, taps, vectors, slope)
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
    _, frames, bins = x.shape
    taps, _, latents = w_enc.shape
    before = taps - 1 - (taps - 1) // 2
    tops, grad = arrays(values, grad_values)
    below = negative_slope * grad if negative_slope else grad.dtype.type(0)
    live = torch.from_numpy(np.where(tops <= 0, below, grad))
    inverse = None if std is None else torch.from_numpy(1 / arrays(std)[0])
    grad_x = grad_w = None
    if need_x:
        grad_x = scatter_runs(live, positions, _rows(w_enc), frames, bins, before, (pool, pool), inverse)
    if need_w:
        summed, _ = accumulate_runs(x, live, positions, taps, before, mean, inverse)
        grad_w = summed.view(latents, taps, bins).permute(1, 2, 0).flip(0).contiguous()
    return grad_x, grad_w
