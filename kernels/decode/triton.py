"""decode on a GPU, in Triton: each pooled latent writes its filter onto the M frames around its position.

All three passes are sparse, over (values, positions) as they are; the unpooled latents are never built. A tile
of the reconstruction is made from the windows whose latents can reach it. The kernels are in `_triton/runs.py`:
decode's gradients and encode's are the same sums.
"""

from torch import Tensor

from .._triton import runs
from ..shapes import pool_range


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    pools = pool_range(frames, values.shape[1])
    return runs.scatter_runs(values, positions, w_dec.transpose(0, 1), frames, pools, values.dtype)


def decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
) -> tuple[Tensor | None, Tensor | None]:
    taps, latents, bins = w_dec.shape
    pools = pool_range(grad_reconstruction.shape[1], values.shape[1])
    grad_values = grad_w = None
    if need_values:
        grad_values = runs.gather_dots(
            *(
                grad_reconstruction,
                positions,
                w_dec.contiguous(),
                (bins, latents * bins),
                taps,
                pools,
                values.dtype,
            )
        )
    if need_w:
        grad_w = runs.accumulate_runs(
            *(grad_reconstruction, values, positions, w_dec, (bins, latents * bins, 1), pools)
        )
    return grad_values, grad_w
