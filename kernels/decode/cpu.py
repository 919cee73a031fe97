"""decode on the CPU: each latent adds its filter to the M frames that it owns; the unpooled tensor never exists."""

import torch
from torch import Tensor

from .._cpu.runs import accumulate_runs, gather_dots, scatter_runs
from ..shapes import pool_range


def _rows(w_dec: Tensor) -> Tensor:
    """(M, K, H) -> (K, M*H)."""
    taps, latents, bins = w_dec.shape
    rows = torch.empty(latents, taps, bins, dtype=w_dec.dtype)  # PyTorch's memory begins with a line of the cache
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
