"""The differentiable ops: checks, back-end choice and autograd around the kernels.

Shapes (B items, N frames, H bins, K latents, M taps, P frames in a pool):

    x (B, N, H)    w_enc (M, H, K)    w_dec (M, K, H)    values, positions (B, ceil(N/P), K)

Each op is a `torch.library` custom op, so that a model using it survives `torch.compile(fullgraph=True)`. All take
`backend`: "auto" for the fastest that can serve the tensors, or a name out of `pf.backends()`, which runs or raises
BackendUnavailable. First derivatives are there for every floating-point input but mean and std; second ones are not.
"""

from typing import Any

import torch
from torch import Tensor

from .kernels import implementation, resolve
from .kernels.shapes import pool_range, window_count

__all__ = ["decode", "encode", "partitioned_loss"]


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
    _check_dimensions(x=(x, "B, N, H"), w_enc=(w_enc, "M, H, K"))
    if w_enc.shape[1] != x.shape[2]:
        raise ValueError(
            f"w_enc {tuple(w_enc.shape)} is (M, H, K) for H = {w_enc.shape[1]} bins, and x {tuple(x.shape)} is"
            f" (B, N, H) with {x.shape[2]}; build the filters for the spectrogram's bins"
        )
    _check_pool(pool)
    _check_leak(leak)
    _check_normalisation(mean, std, x)
    _check_alike(x=x, w_enc=w_enc, mean=mean, std=std)
    return torch.ops.partae.encode(x, w_enc, pool, mean, std, float(leak), backend)


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int, backend: str = "auto") -> Tensor:
    """Put each value back at its frame and convolve in time (Stowell & Turner 2015, section 3).

    Args:
        values, positions: (B, W, K) as `encode` returns them for recordings of `frames` frames: the position of
            window p lies in that window. Elsewhere it is an error (ValueError on the CPU; on a GPU, where asking
            would stop the stream, NaN in what it touches).
        w_dec: (M, K, H) filters; an even M writes back to the frames that encode read.
        frames: N >= 1; some pool must cut it into W windows.

    Returns:
        The reconstruction (B, N, H), of the type of `values`.

    >>> values, positions = encode(torch.rand(2, 100, 8), torch.randn(5, 8, 3), pool=16)
    >>> decode(values, positions, torch.randn(5, 3, 8), frames=100).shape
    torch.Size([2, 100, 8])
    """
    _check_dimensions(
        values=(values, "B, windows, K"), positions=(positions, "B, windows, K"), w_dec=(w_dec, "M, K, H")
    )
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
    if frames < 1:
        raise ValueError(f"frames is {frames}; it must be at least 1")
    pool_range(frames, values.shape[1])
    _check_alike(values=values, w_dec=w_dec)
    _check_devices(values=values, positions=positions)
    return torch.ops.partae.decode(values, positions, w_dec, frames, backend)


def partitioned_loss(
    x: Tensor,
    mean: Tensor | None,
    std: Tensor | None,
    w_enc: Tensor,
    w_dec: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
    pool: int,
    target: Tensor | None = None,
    backend: str = "auto",
    leak: float = 0.0,
    rectified_output: bool = False,
) -> Tensor:
    """The training loss of the partitioned autoencoder: encode, decode and compare (Stowell & Turner 2015, section 3).

        mean over items of  sum (target - r)^2  +  penalty * y / mean(C) * sum (C * values)^2

    Args:
        x, mean, std, w_enc, pool, leak: as for `encode`; w_dec: as for `decode`.
        noise_only: (B,) the weak label y, in [0, 1]: 1 where the item is noise-only.
        foreground: (K,) the mask C: 1 where the latent is for signal. Where it is 0 throughout, so is the penalty.
        penalty: lambda >= 0, what activity of foreground latents costs in a noise-only item.
        target: (B, N, H), what to reconstruct; x itself unless given.
        rectified_output: whether r is max(what is decoded, 0).

    Returns:
        A scalar: float32, or float64 for float64 input. Gradients reach x, w_enc, w_dec and target.

    >>> w_enc, w_dec = torch.randn(5, 8, 4), torch.randn(5, 4, 8)
    >>> y, c = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 1.0])
    >>> partitioned_loss(torch.rand(2, 64, 8), None, None, w_enc, w_dec, y, c, penalty=0.75, pool=8).shape
    torch.Size([])
    """
    values, positions = encode(x, w_enc, pool, mean, std, backend, leak)
    reconstruction = decode(values, positions, w_dec, x.shape[1], backend)
    if rectified_output:
        reconstruction = reconstruction.relu()
    target = x if target is None else target
    if target.shape != reconstruction.shape:
        raise ValueError(
            f"target is {tuple(target.shape)} and the reconstruction {tuple(reconstruction.shape)};"
            " they must be of one shape (is w_dec's H that of x?)"
        )
    if noise_only.shape != x.shape[:1]:
        raise ValueError(
            f"noise_only is {tuple(noise_only.shape)} for {x.shape[0]} items; it is (B,), a label for each item"
        )
    if foreground.shape != w_enc.shape[2:]:
        raise ValueError(
            f"foreground is {tuple(foreground.shape)} for {w_enc.shape[2]} latents; it is (K,), 1 or 0 for each"
        )
    _check_alike(x=x, target=target)
    _check_devices(x=x, noise_only=noise_only, foreground=foreground)
    noise_only, foreground = noise_only.to(x.dtype), foreground.to(x.dtype)
    loss, _, _ = torch.ops.partae.partitioned_loss(
        reconstruction, target, values, noise_only, foreground, float(penalty), backend
    )
    return loss


# Guards, all of them before anything is allocated.


def _check_dimensions(**tensors: tuple[Tensor, str]) -> None:
    for name, (tensor, meaning) in tensors.items():
        if tensor.dim() != 3 or 0 in tensor.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; it must be ({meaning}), each at least 1")


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


def _check_alike(**tensors: Tensor | None) -> None:
    """One floating-point type, one device."""
    kinds = {name: t.dtype for name, t in tensors.items() if t is not None}
    if len(set(kinds.values())) > 1 or not all(d.is_floating_point for d in kinds.values()):
        raise ValueError(f"types are {_listed(kinds)}; give all of one floating-point type")
    _check_devices(**tensors)


def _check_devices(**tensors: Tensor | None) -> None:
    devices = {name: t.device for name, t in tensors.items() if t is not None}
    if len(set(devices.values())) > 1:
        raise ValueError(f"devices are {_listed(devices)}; move all tensors to one")


def _listed(items: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


# The custom ops. A kernel's None (a gradient nobody needs) is an empty tensor here: an op returns tensors.


def _kernels(op: str, backend: str, like: Tensor):
    return implementation(op, resolve(op, backend, like.device, like.dtype))


def _op(name: str) -> Any:
    return torch.library.custom_op(f"partae::{name}", mutates_args=())


def _or_empty(gradient: Tensor | None, like: Tensor) -> Tensor:
    return like.new_empty(0) if gradient is None else gradient


@_op("encode")
def _encode(
    x: Tensor, w_enc: Tensor, pool: int, mean: Tensor | None, std: Tensor | None, leak: float, backend: str
) -> tuple[Tensor, Tensor]:
    return _kernels("encode", backend, x).encode(x, w_enc, pool, mean, std, leak)


@_encode.register_fake
def _(x, w_enc, pool, mean, std, leak, backend):
    shape = (x.shape[0], window_count(x.shape[1], pool), w_enc.shape[2])
    return x.new_empty(shape), x.new_empty(shape, dtype=torch.int32)


@_op("encode_backward")
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
    grad_x, grad_w = _kernels("encode", backend, x).encode_backward(
        grad_values, x, w_enc, values, positions, pool, mean, std, need_x, need_w, leak
    )
    return _or_empty(grad_x, x), _or_empty(grad_w, w_enc)


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


@_op("decode")
def _decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int, backend: str) -> Tensor:
    return _kernels("decode", backend, values).decode(values, positions, w_dec, frames)


@_decode.register_fake
def _(values, positions, w_dec, frames, backend):
    return values.new_empty(values.shape[0], frames, w_dec.shape[2])


@_op("decode_backward")
def _decode_backward(
    grad_reconstruction: Tensor,
    values: Tensor,
    positions: Tensor,
    w_dec: Tensor,
    need_values: bool,
    need_w: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    grad_values, grad_w = _kernels("decode", backend, values).decode_backward(
        grad_reconstruction, values, positions, w_dec, need_values, need_w
    )
    return _or_empty(grad_values, values), _or_empty(grad_w, w_dec)


@_decode_backward.register_fake
def _(grad_reconstruction, values, positions, w_dec, need_values, need_w, backend):
    return values.new_empty(values.shape if need_values else 0), w_dec.new_empty(w_dec.shape if need_w else 0)


def _save_decode(ctx, inputs, output):
    values, positions, w_dec, _, ctx.backend = inputs
    ctx.save_for_backward(values, positions, w_dec)


def _differentiate_decode(ctx, grad_reconstruction):
    values, positions, w_dec = ctx.saved_tensors
    need_values, _, need_w = ctx.needs_input_grad[:3]
    grad_values, grad_w = torch.ops.partae.decode_backward(
        grad_reconstruction, values, positions, w_dec, need_values, need_w, ctx.backend
    )
    return grad_values if need_values else None, None, grad_w if need_w else None, None, None


_decode.register_autograd(_differentiate_decode, setup_context=_save_decode)


@_op("partitioned_loss")
def _partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    return _kernels("partitioned_loss", backend, reconstruction).partitioned_loss(
        reconstruction, target, values, noise_only, foreground, penalty
    )


@_partitioned_loss.register_fake
def _(reconstruction, target, values, noise_only, foreground, penalty, backend):
    wide = torch.float64 if reconstruction.dtype == torch.float64 else torch.float32
    loss = reconstruction.new_empty((), dtype=wide)
    return loss, reconstruction.new_empty(reconstruction.shape), values.new_empty(values.shape)


def _save_loss(ctx, inputs, output):
    _, grad_reconstruction, grad_values = output
    ctx.mark_non_differentiable(grad_reconstruction, grad_values)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad_reconstruction, grad_values)


def _differentiate_loss(ctx, grad_loss, *_):
    if grad_loss is None:
        return (None,) * 7
    grad_reconstruction, grad_values = ctx.saved_tensors
    need_reconstruction, need_target, need_values = ctx.needs_input_grad[:3]
    # loss.backward() hands down a 1, and a product with it would only move memory.
    known = grad_loss.is_cpu and not torch.compiler.is_compiling() and type(grad_loss) is Tensor
    if not (known and grad_loss.item() == 1.0):
        grad_reconstruction = grad_loss.to(grad_reconstruction.dtype) * grad_reconstruction
        grad_values = grad_loss.to(grad_values.dtype) * grad_values
    return (
        grad_reconstruction if need_reconstruction else None,
        -grad_reconstruction if need_target else None,
        grad_values if need_values else None,
        None,
        None,
        None,
        None,
    )


_partitioned_loss.register_autograd(_differentiate_loss, setup_context=_save_loss)
