"""decode on the CPU: each latent adds its filter to the M frames that it owns; the unpooled tensor never exists."""

import numpy as np
from torch import Tensor

from ..jit import kernel
from ..runs import accumulate_runs, arrays, gather_dots, scatter_runs
from ..shapes import pool_range


@kernel
def _misplaced(positions, frames, smallest, largest):
    """The first window with a position that it cannot have, counted over (item, window, latent), or -1."""
    count = 0
    for item in range(positions.shape[0]):
        for p in range(positions.shape[1]):
            low, high = p * smallest, min((p + 1) * largest, frames)
            wrong = 0
            for k in range(positions.shape[2]):
                wrong += (positions[item, p, k] < low) | (positions[item, p, k] >= high)
            if wrong:
                return count
            count += 1
    return -1


def _pools(positions: Tensor, frames: int) -> tuple[int, int]:
    """The pools that the windows may have had; ValueError where a position is not in its window."""
    pools = pool_range(frames, positions.shape[1])
    (array,) = arrays(positions)
    window = _misplaced(array, frames, *pools)
    if window >= 0:
        item, p = divmod(window, positions.shape[1])
        seen = np.unique(array[item, p]).tolist()
        low, high = p * pools[0], min((p + 1) * pools[1], frames)
        raise ValueError(
            f"positions[{item}, {p}] holds frames {seen}, and window {p} of {positions.shape[1]} over {frames} frames"
            f" can only hold {low} to {high - 1}; give decode the positions that encode returned"
        )
    return pools


def _rows(w_dec: Tensor) -> Tensor:
    """(M, K, H) -> (K, M*H)."""
    return w_dec.detach().permute(1, 0, 2).reshape(w_dec.shape[1], -1).contiguous()


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    taps, _, bins = w_dec.shape
    pools = _pools(positions, frames)
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
    _pools(positions, grad_reconstruction.shape[1])
    grad_values = grad_w = None
    if need_values:
        grad_values = gather_dots(grad_reconstruction, positions, _rows(w_dec), taps // 2)
    if need_w:
        summed = accumulate_runs(grad_reconstruction, values, positions, taps, taps // 2)
        grad_w = summed.view(latents, taps, bins).permute(1, 0, 2).contiguous()
    return grad_values, grad_w
