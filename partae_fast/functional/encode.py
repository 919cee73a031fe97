"""encode: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from ..kernels.shapes import window_count
from .common import (
    autocast,
    check_alike,
    check_dimensions,
    check_tensors,
    integer,
    kernels,
    no_gradient,
    number,
    or_empty,
)
from .custom_op import op


def encode(
    x: Tensor,
    w_enc: Tensor,
    pool: int,
    mean: Tensor | None = None,
    std: Tensor | None = None,
    backend: str = "auto",
    negative_slope: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Convolve in time, rectify, and keep the maximum of each pool window and its frame.

    Stowell & Turner 2015, section 3.

    Args:
        x: (B, N, H) magnitudes; float32, float64, bfloat16 or float16 (not every back-end takes every type).
        w_enc: (M, H, K) filters of a true convolution; the output is as long as the input, which is zero-padded.
        pool: P >= 1, frames in a window; the last window may be short, and P may exceed N.
        mean, std: (H,), or both None: the input is normalised to (x - mean) / std in the same pass. A std that is not
            above 0 raises ValueError on the CPU; on a GPU, where a check would synchronize the stream, values are NaN.
            They are data: they get no gradient.
        negative_slope: the rectifier's slope below 0, in [0, 1); 0 in the paper.

    Returns:
        values (B, ceil(N/P), K) of x's type, the pooled maxima; and positions, int32 of the same shape, the frames in
        [0, N) of these maxima. A window without a positive value has value 0, the position of its first frame, and no
        gradient; with negative_slope > 0 its value is negative_slope times its maximum. A NaN in a window makes its
        value NaN and its position that of a NaN; the gradient passes there.

    Under autocast the inputs are cast to its type, as for PyTorch's convolutions, and so are the values.

    Raises:
        ValueError: shapes, types or devices do not match; negative_slope or std is out of range; mean or std requires a
            gradient.
        TypeError: an input is not a tensor, or pool is not an int.
        BackendUnavailable: see above.
        NotImplementedError: a forward-mode or second derivative.

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
    pool, negative_slope = integer("pool", pool), number("negative_slope", negative_slope)
    if pool < 1:
        raise ValueError(f"pool is {pool}; it is a number of frames, at least 1")
    if not 0 <= negative_slope < 1:
        raise ValueError(f"negative_slope is {negative_slope}; it must be from 0 up to, not including, 1")
    _check_normalisation(mean, std, x)
    x, w_enc, mean, std = autocast(x, w_enc, mean, std)
    check_alike(x=x, w_enc=w_enc, mean=mean, std=std)
    return _encode(x, w_enc, pool, mean, std, negative_slope, backend)


def _check_normalisation(mean: Tensor | None, std: Tensor | None, x: Tensor) -> None:
    if (mean is None) != (std is None):
        missing = "mean" if mean is None else "std"
        raise ValueError(f"{missing} is missing; give mean and std both, or neither")
    if mean is None or std is None:
        return
    check_tensors(mean=mean, std=std)
    no_gradient(mean=mean, std=std)
    for name, tensor in (("mean", mean), ("std", std)):
        if tensor.shape != x.shape[2:]:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} and x has {x.shape[2]} bins; it is (H,), one for each bin"
            )


@op("encode")
def _encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, negative_slope: float, backend: str
) -> tuple[Tensor, Tensor]:
    if std is not None and std.is_cpu:
        least = std.amin().item()
        if not least > 0:
            raise ValueError(f"std has a value of {least}; give values above 0, such as std.clamp(min=1e-3)")
    return kernels("encode", backend, x).encode(x, w_enc, pool, mean, std, negative_slope)


@_encode.register_fake
def _(x, w_enc, pool, mean, std, negative_slope, backend):
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
    negative_slope: float,
    backend: str,
) -> tuple[Tensor, Tensor]:
    grad_x, grad_w = kernels("encode", backend, x).encode_backward(
        grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, negative_slope
    )
    return or_empty(grad_x, x), or_empty(grad_w, w_enc)


@_encode_backward.register_fake
def _(grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, negative_slope, backend):
    return x.new_empty(x.shape if need_x else 0), w_enc.new_empty(w_enc.shape if need_w else 0)


def _save_encode(ctx, inputs, output):
    x, w_enc, ctx.pool, mean, std, ctx.negative_slope, ctx.backend = inputs
    values, positions = output
    ctx.save_for_backward(x, w_enc, values, positions, mean, std)


def _differentiate_encode(ctx, grad_values):
    x, w_enc, values, positions, mean, std = ctx.saved_tensors
    need_x, need_w = ctx.needs_input_grad[:2]
    grad_x, grad_w = _encode_backward(
        grad_values, x, w_enc, values, positions, ctx.pool, mean, std, need_x, need_w, ctx.negative_slope, ctx.backend
    )
    return grad_x if need_x else None, grad_w if need_w else None, *(None,) * 5


_encode.register_autograd(_differentiate_encode, setup_context=_save_encode)
