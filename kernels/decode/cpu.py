"""decode on the CPU: each latent adds its filter to the M frames that it owns; the unpooled tensor never exists."""

from torch import Tensor

from ..runs import accumulate_runs, gather_dots, scatter_runs
from ..shapes import checked_pools


def _rows(w_dec: Tensor) -> Tensor:
    """(M, K, H) -> (K, M*H)."""
    return w_dec.detach().permute(1, 0, 2).reshape(w_dec.shape[1], -1).contiguous()


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    taps, _, bins = w_dec.shape
    pools = checked_pools(positions, frames)
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
    grad_values = grad_w = None
    if need_values:
        grad_values = gather_dots(grad_reconstruction, positions, _rows(w_dec), taps // 2)
    if need_w:
        summed = accumulate_runs(grad_reconstruction, values, positions, taps, taps // 2)
        grad_w = summed.view(latents, taps, bins).permute(1, 0, 2).contiguous()
    return grad_values, grad_w
