"""decode in CUDA C: `decode.cuh` describes the kernels, and `_cuda/frame_windows.py` divides the work.

"auto" selects triton where both can run, as no GPU has compared the two.
"""

from torch import Tensor

from .._cuda.common import target_for
from .._cuda.frame_windows import Rows, Runs, reduce_runs, scatter_runs
from ..shapes import pool_range

FILE = "decode/decode.cuh"


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    target = target_for("decode", values)
    runs = Runs(values.contiguous(), positions.contiguous(), frames, pool_range(frames, values.shape[1]))
    return scatter_runs(target, FILE, "decode", runs, Rows.of_decoder(w_dec.contiguous()))


def decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
) -> tuple[Tensor | None, Tensor | None]:
    target = target_for("decode", values)
    if not (need_values or need_w):
        return None, None
    frames = grad_reconstruction.shape[1]
    runs = Runs(values.contiguous(), positions.contiguous(), frames, pool_range(frames, values.shape[1]))
    w_dec = w_dec.contiguous()
    return reduce_runs(
        target,
        FILE,
        "decode_gradients",
        source=grad_reconstruction.contiguous(),
        runs=runs,
        rows=Rows.of_decoder(w_dec),
        need_dots=need_values,
        like=w_dec if need_w else None,
    )
