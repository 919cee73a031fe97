"""decode: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from ..kernels.shapes import pool_range
from .common import autocast, check_alike, check_devices, check_dimensions, integer, kernels, or_empty
from .custom_op import op


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int, backend: str = "auto") -> Tensor:
    """Put each value back at its frame, then convolve in time (Stowell & Turner 2015, section 3).

    Args:
        values, positions: (B, W, K) as `encode` returns them for recordings of `frames` frames: the position of
            window p lies in that window. Another position raises ValueError on the CPU; on a GPU, where a check would
            synchronize the stream, the frames that it touches are NaN.
        w_dec: (M, K, H) filters; an even M writes back to the frames that encode read.
        frames: N >= 1; some pool must cut it into W windows.

    Returns:
        The reconstruction (B, N, H), of the type of `values`; under autocast, of its type.

    >>> from partae_fast.functional import encode
    >>> values, positions = encode(torch.rand(2, 100, 8), torch.randn(5, 8, 3), pool=16)
    >>> decode(values, positions, torch.randn(5, 3, 8), frames=100).shape
    torch.Size([2, 100, 8])
    """
    check_dimensions(values=(values, "B, windows, K"), positions=(positions, "B, windows, K"), w_dec=(w_dec, "M, K, H"))
    if positions.shape != values.shape or positions.dtype != torch.int32:
        raise ValueError(
            f"positions are {tuple(positions.shape)} {positions.dtype} and values {tuple(values.shape)};"
            " give decode both as encode returned them (same shape, positions int32)"
        )
    if w_dec.shape[1] != values.shape[2]:
        raise ValueError(
            f"w_dec {tuple(w_dec.shape)} is (M, K, H) for K = {w_dec.shape[1]} latents, and values"
            f" {tuple(values.shape)} have {values.shape[2]}; encoder and decoder must have the same latents"
        )
    frames = integer("frames", frames)
    if frames < 1:
        raise ValueError(f"frames is {frames}; it must be at least 1")
    values, w_dec = autocast(values, w_dec)
    check_alike(values=values, w_dec=w_dec)
    check_devices(values=values, positions=positions)
    return _decode(values, positions, w_dec, frames, backend)


@op("decode")
def _decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int, backend: str) -> Tensor:
    pool_range(frames, values.shape[1])  # after the check of shapes: in an exported program both may be symbolic
    return kernels("decode", backend, values).decode(values, positions, w_dec, frames)


@_decode.register_fake
def _(values, positions, w_dec, frames, backend):
    return values.new_empty(values.shape[0], frames, w_dec.shape[2])


@op("decode_backward")
def _decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    grad_values, grad_w = kernels("decode", backend, values).decode_backward(
        grad_reconstruction, values, positions, w_dec, need_values, need_w
    )
    return or_empty(grad_values, values), or_empty(grad_w, w_dec)


@_decode_backward.register_fake
def _(grad_reconstruction, values, positions, w_dec, need_values, need_w, backend):
    return values.new_empty(values.shape if need_values else 0), w_dec.new_empty(w_dec.shape if need_w else 0)


def _save_decode(ctx, inputs, output):
    values, positions, w_dec, _, ctx.backend = inputs
    ctx.save_for_backward(values, positions, w_dec)


def _differentiate_decode(ctx, grad_reconstruction):
    values, positions, w_dec = ctx.saved_tensors
    need_values, _, need_w = ctx.needs_input_grad[:3]
    grad_values, grad_w = _decode_backward(
        grad_reconstruction, values, positions, w_dec, need_values, need_w, ctx.backend
    )
    return grad_values if need_values else None, None, grad_w if need_w else None, None, None


_decode.register_autograd(_differentiate_decode, setup_context=_save_decode)
