"""encode: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from ..kernels.shapes import window_count
from .common import check_alike, check_dimensions, kernels, op, or_empty


def encode(
    x: Tensor,
    w_enc: Tensor,
    pool: int,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    backend: str = "auto",
    leak: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Convolve in time, rectify, keep the maximum of each pool window and its frame (Stowell & Turner 2015, sec. 3).

    Args:
        x: (B, N, H) magnitudes; float32, float64, bfloat16 or float16 (which back-end takes which: `pf.backends`).
        w_enc: (M, H, K) filters; a true convolution, output as long as the input, zeros outside the recording.
        pool: P >= 1, the frames in a window; the last window may be short, and P may exceed N.
        mean, std: (H,) both or neither: the input is normalised to (x - mean) / std in the same pass. std > 0.
        leak: the rectifier's slope below 0, in [0, 1); 0 is the paper's.

    Returns:
        values (B, ceil(N/P), K) of x's type, the pooled maxima; and positions, int32 of the same shape, the frames in
        [0, N) where they stand. A window with nothing positive has value 0, its first frame as position, and no
        gradient; with a leak its value is leak times its maximum. A NaN in a window makes its value NaN.

    Raises:
        ValueError: shapes, types or devices that do not go together; a leak out of range. BackendUnavailable: see
        above.

    >>> values, positions = encode(torch.rand(2, 100, 8), torch.randn(5, 8, 3), pool=16)
    >>> values.shape
    torch.Size([2, 7, 3])
    """
    check_dimensions(x=(x, "B, N, H"), w_enc=(w_enc, "M, H, K"))
    if w_enc.shape[1] != x.shape[2]:
        raise ValueError(
            f"w_enc {tuple(w_enc.shape)} is (M, H, K) for H = {w_enc.shape[1]} bins, and x {tuple(x.shape)} is"
            f" (B, N, H) with {x.shape[2]}; build the filters for the spectrogram's bins"
        )
    _check_pool(pool)
    _check_leak(leak)
    _check_normalisation(mean, std, x)
    check_alike(x=x, w_enc=w_enc, mean=mean, std=std)
    return torch.ops.partae.encode(x, w_enc, pool, mean, std, float(leak), backend)


def _check_pool(pool: int) -> None:
    if pool < 1:
        raise ValueError(f"pool is {pool}; it is a number of frames, at least 1")


def _check_leak(leak: float) -> None:
    if not 0 <= leak < 1:
        raise ValueError(f"leak is {leak}; it must be from 0 up to, not including, 1")


def _check_normalisation(mean: Tensor | None, std: Tensor | None, x: Tensor) -> None:
    if (mean is None) != (std is None):
        missing = "mean" if mean is None else "std"
        raise ValueError(f"{missing} is missing; give mean and std both, or neither")
    for name, tensor in (("mean", mean), ("std", std)):
        if tensor is not None and tensor.shape != x.shape[2:]:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} and x has {x.shape[2]} bins; it is (H,), one for each bin"
            )
        if tensor is not None and tensor.requires_grad:
            raise ValueError(f"{name} requires a gradient and none is computed for it; pass {name}.detach()")


@op("encode")
def _encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, leak: float, backend: str
) -> tuple[Tensor, Tensor]:
    return kernels("encode", backend, x).encode(x, w_enc, pool, mean, std, leak)


@_encode.register_fake
def _(x, w_enc, pool, mean, std, leak, backend):
    shape = (x.shape[0], window_count(x.shape[1], pool), w_enc.shape[2])
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32)


@op("encode_backward")
def _encode_backward(
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
    leak: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    grad_x, grad_w = kernels("encode", backend, x).encode_backward(
        grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, leak
    )
    return or_empty(grad_x, x), or_empty(grad_w, w_enc)


@_encode_backward.register_fake
def _(grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, leak, backend):
    return x.new_empty(x.shape if need_x else 0), w_enc.new_empty(w_enc.shape if need_w else 0)


def _save_encode(ctx, inputs, output):
    x, w_enc, ctx.pool, mean, std, ctx.leak, ctx.backend = inputs
    values, positions = output
    ctx.mark_non_differentiable(positions)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, w_enc, values, positions, mean, std)


def _differentiate_encode(ctx, grad_values, _):
    if grad_values is None:
        return (None,) * 7
    x, w_enc, values, positions, mean, std = ctx.saved_tensors
    need_x, need_w = ctx.needs_input_grad[:2]
    grad_x, grad_w = torch.ops.partae.encode_backward(
        grad_values, x, w_enc, values, positions, ctx.pool, mean, std, need_x, need_w, ctx.leak, ctx.backend
    )
    return grad_x if need_x else None, grad_w if need_w else None, *(None,) * 5


_encode.register_autograd(_differentiate_encode, setup_context=_save_encode)
