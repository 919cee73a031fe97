"""conv2d_pool: its checks, the custom op and its gradient."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.shapes import window_count
from .common import autocast, check_alike, check_dimensions, integer, kernels, or_empty
from .custom_op import op


def conv2d_pool(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    pool: tuple[int, int] = (1, 1),
    backend: str = "auto",
    relu: bool = True,
) -> tuple[Tensor, Tensor]:
    """Convolve by 3x3, add bias, rectify, and keep the maximum of each window of p frames and q bins.

    The encoder's layers of Grais & Plumbley 2017, table 1.

    Args:
        x: (B, N, H, C) items, frames, bins and channels, of the floating-point type of weight and bias.
        weight: (3, 3, C, D) filters, frames first. A cross-correlation as in `torch.nn.functional.conv2d`:
            weight[i, j] multiplies x[n + i - 1, h + j - 1], which is 0 outside the map.
        bias: (D,).
        pool: (p, q), each at least 1; the last windows may be short, and a pool may exceed the map.
        relu: whether negative activations become 0.

    Returns:
        values (B, ceil(N/p), ceil(H/q), D) of x's type; and positions, int32 of the same shape: i * q + j if the
        maximum, the first of equal ones, is at frame i, bin j of its window. With pool (1, 1) positions is empty. With
        relu a window without a positive number has value 0, position 0 and no gradient. A NaN in a window makes its
        value NaN and its position that of a NaN; the gradient passes there. Equal bits hold at a fixed number of
        threads.

    Under autocast the inputs are cast to its type, as for PyTorch's convolutions, and so are the values.

    Raises:
        ValueError: shapes, types or devices do not match. TypeError: an input is not a tensor, or pool is not two
        ints. BackendUnavailable: see above. NotImplementedError: a forward-mode or second derivative.

    >>> values, positions = conv2d_pool(torch.rand(2, 15, 20, 1), torch.randn(3, 3, 1, 12), torch.zeros(12), (3, 5))
    >>> values.shape
    torch.Size([2, 5, 4, 12])
    """
    x, weight, bias, pool = checked_conv2d(x, weight, bias, "pool", pool)
    return _conv2d_pool(x, weight, bias, list(pool), relu, backend)


def checked_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor, name: str, pair: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor, tuple[int, int]]:
    """Return the arguments cast by autocast; raise if they do not match or the pair is not two ints >= 1."""
    check_dimensions(x=(x, "B, N, H, C"), weight=(weight, "3, 3, C, D"), bias=(bias, "D"))
    if weight.shape[:3] != (3, 3, x.shape[3]):
        raise ValueError(
            f"weight is {tuple(weight.shape)} and x {tuple(x.shape)} has {x.shape[3]} channels, the last axis;"
            f" weight must be (3, 3, {x.shape[3]}, D)"
        )
    if bias.shape != weight.shape[3:]:
        raise ValueError(
            f"bias is {tuple(bias.shape)} for {weight.shape[3]} filters; it is (D,), a number for each filter"
        )
    if not isinstance(pair, Sequence) or isinstance(pair, str):
        raise TypeError(f"{name} is {pair!r} and must be two ints, for frames and for bins, such as (3, 5)")
    factors = [integer(f"{name}[{i}]", factor) for i, factor in enumerate(pair)]
    if len(factors) != 2 or min(factors) < 1:
        raise ValueError(f"{name} is {pair}; it is two numbers, for frames and for bins, each at least 1")
    x, weight, bias = autocast(x, weight, bias)
    check_alike(x=x, weight=weight, bias=bias)
    return x, weight, bias, (factors[0], factors[1])


@op("conv2d_pool")
def _conv2d_pool(
    x: Tensor, weight: Tensor, bias: Tensor, pool: Sequence[int], relu: bool, backend: str
) -> tuple[Tensor, Tensor]:
    p, q = pool
    return kernels("conv2d_pool", backend, x).conv2d_pool(x, weight, bias, (p, q), relu)


@_conv2d_pool.register_fake
def _(x, weight, bias, pool, relu, backend):
    shape = x.shape[0], window_count(x.shape[1], pool[0]), window_count(x.shape[2], pool[1]), weight.shape[3]
    return x.new_empty(shape), x.new_empty(0 if tuple(pool) == (1, 1) else shape, dtype=torch.int32)


@op("conv2d_pool_backward")
def _conv2d_pool_backward(
    grad_values: Tensor,
    x: Tensor,
    weight: Tensor,
    values: Tensor,
    positions: Tensor,
    pool: Sequence[int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    p, q = pool
    gradients = kernels("conv2d_pool", backend, x).conv2d_pool_backward(
        grad_values, x, weight, values, positions, (p, q), relu, need_x, need_w, need_bias
    )
    return or_empty(gradients[0], x), or_empty(gradients[1], weight), or_empty(gradients[2], x)


@_conv2d_pool_backward.register_fake
def _(grad_values, x, weight, values, positions, pool, relu, need_x, need_w, need_bias, backend):
    return fake_gradients(x, weight, need_x, need_w, need_bias)


def fake_gradients(
    x: Tensor, weight: Tensor, need_x: bool, need_w: bool, need_bias: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return empty gradients of x, weight and bias, of the shapes that a backward pass returns."""
    return (
        x.new_empty(x.shape if need_x else 0),
        weight.new_empty(weight.shape if need_w else 0),
        x.new_empty(weight.shape[3] if need_bias else 0),
    )


def _save_conv2d_pool(ctx, inputs, output):
    x, weight, _, ctx.pool, ctx.relu, ctx.backend = inputs
    ctx.save_for_backward(x, weight, *output)


def _differentiate_conv2d_pool(ctx, grad_values):
    needed = ctx.needs_input_grad[:3]
    gradients = _conv2d_pool_backward(grad_values, *ctx.saved_tensors, ctx.pool, ctx.relu, *needed, ctx.backend)
    return *(g if need else None for g, need in zip(gradients, needed, strict=True)), None, None, None


_conv2d_pool.register_autograd(_differentiate_conv2d_pool, setup_context=_save_conv2d_pool)
