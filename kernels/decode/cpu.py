"""decode on the CPU: each latent adds its filter to M frames; the unpooled tensor is never built."""

import torch
from torch import Tensor

from .._cpu.arrays import arrays
from .._cpu.frame_windows import accumulate_runs, scatter_runs
from .._cpu.jit import kernel
from .._cpu.simd import dot
from .._cpu.threads import next_unit, spread
from ..shapes import pool_range


@kernel
def _gather(counters, out, source, positions, rows, before):
    frames, bins = source.shape[1], source.shape[2]
    windows, latents = positions.shape[1], positions.shape[2]
    length = rows.shape[1]
    taps = length // bins
    unit = next_unit(counters, -1)
    while unit >= 0:
        item, p = unit // windows, unit % windows
        for k in range(latents):
            start = positions[item, p, k] - before
            low, high = max(start, 0), min(start + taps, frames)
            run_at, row_at = (item * frames + low) * bins, k * length + (low - start) * bins
            out[item, p, k] = dot(source, run_at, rows, row_at, (high - low) * bins)
        unit = next_unit(counters, unit)


def gather_dots(source: Tensor, positions: Tensor, rows: Tensor, before: int) -> Tensor:
    """Return the dot product (B, windows, K) of each latent's row with its run of `source` (B, N, H)."""
    out = torch.empty(positions.shape, dtype=rows.dtype)
    units = positions.shape[0] * positions.shape[1]
    spread(_gather, units, 2 * out.numel() * rows.shape[1], *arrays(out, source, positions, rows), before)
    return out


def _rows(w_dec: Tensor) -> Tensor:
    """Return (M, K, H) as (K, M*H)."""
    taps, latents, bins = w_dec.shape
    rows = torch.empty(latents, taps, bins, dtype=w_dec.dtype)  # PyTorch aligns memory to cache lines
    rows.numpy()[:] = w_dec.detach().numpy().transpose(1, 0, 2)
    return rows.view(latents, -1)


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    taps, _, bins = w_dec.shape
    pools = pool_range(frames, positions.shape[1])
    return scatter_runs(values, positions, _rows(w_dec), frames, bins, taps // 2, pools)


def decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
) -> tuple[Tensor | None, Tensor | None]:
    taps, latents, bins = w_dec.shape
    before = taps // 2
    rows = _rows(w_dec) if need_values else None
    if not need_w:
        return None if rows is None else gather_dots(grad_reconstruction, positions, rows, before), None
    summed, grad_values = accumulate_runs(grad_reconstruction, values, positions, taps, before, rows=rows)
    return grad_values, summed.view(latents, taps, bins).permute(1, 0, 2).contiguous()
