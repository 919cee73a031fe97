"""dense: its checks, the custom op and its gradient."""

import torch
from torch import Tensor
from torch.nn import Parameter

from ..kernels._cpu import LARGE_PRODUCT
from ..kernels.dense import ACTIVATIONS, Dropout
from .common import autocast, check_alike, check_dimensions, check_tensors, integer, kernels, number, or_empty
from .custom_op import op


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str = "identity",
    dropout: float = 0.0,
    seed: int = 0,
    step: int | Tensor = 0,
    layer: int = 0,
    backend: str = "auto",
) -> Tensor:
    """Compute a dense layer, activation(x @ weight + bias), followed by dropout.

    Args:
        x: (B, I); float32, float64, bfloat16 or float16 (not every back-end takes every type).
        weight: (I, O). bias: (O,), or None.
        activation: "identity"; "relu"; "leaky_relu", with slope 0.01 below 0 and at 0; or "mrelu", z if
            z >= 1e-5, else -1e-5 / (z - 1 - 1e-5) (Liu et al. 2014; Kim & Smaragdis 2015, equation 6): continuous,
            never 0, with the derivative that this implies, 1 or 1e-5 / (z - 1 - 1e-5)^2.
        dropout: the share of outputs that are set to 0, in [0, 1); the others are scaled by 1 / (1 - dropout). 0, as
            at inference, drops nothing.
        seed, step, layer: they determine the outputs that are dropped, the same on every back-end (see
            `kernels.dense.Dropout`). seed is in [0, 2^63), step and layer in [0, 2^32). A CUDA graph repeats the number
            of the step that it was captured with; to change it between replays pass a tensor of one int64 on x's
            device, which is read when the kernel runs.

    Returns:
        (B, O), of x's type; under autocast, of its type, to which x, weight and bias are cast. Gradients reach x,
        weight and bias. Equal bits hold at a fixed number of threads, as in `torch.mm`.

    Raises:
        ValueError: shapes, types or devices do not match; activation, dropout, seed, step or layer is out of range.
            BackendUnavailable: see `pf.backends`.

    >>> dense(torch.rand(3, 8), torch.randn(8, 5), torch.zeros(5), "mrelu").shape
    torch.Size([3, 5])
    """
    if (
        backend == "auto"
        and not isinstance(step, Tensor)
        and (dropout, seed, step, layer) == (0, 0, 0, 0)
        and _is_plain_product(x, weight, bias, activation)
    ):
        z = torch.mm(x, weight) if bias is None else torch.addmm(bias, x, weight)
        return z.relu() if activation == "relu" else z
    check_dimensions(x=(x, "B, I"), weight=(weight, "I, O"))
    if weight.shape[0] != x.shape[1]:
        raise ValueError(
            f"weight {tuple(weight.shape)} is (I, O) for I = {weight.shape[0]} inputs, and x {tuple(x.shape)} is (B, I)"
            f" with {x.shape[1]}; build the layer for the inputs that it gets"
        )
    if bias is not None:
        check_tensors(bias=bias)
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"bias is {tuple(bias.shape)} and weight has {weight.shape[1]} outputs; it is (O,), or None")
    x, weight, bias = autocast(x, weight, bias)
    check_alike(x=x, weight=weight, bias=bias)
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation {activation!r} is not known; choose one of {', '.join(ACTIVATIONS)}")
    dropout = number("dropout", dropout)
    seed, layer = integer("seed", seed), integer("layer", layer)
    step_at, step = (step, 0) if isinstance(step, Tensor) else (None, integer("step", step))
    if step_at is not None and (step_at.dtype != torch.int64 or step_at.numel() != 1 or step_at.device != x.device):
        raise ValueError(
            f"step is {tuple(step_at.shape)}, {step_at.dtype} on {step_at.device}, and x on {x.device}; give an int, or"
            " one int64 on x's device"
        )
    if not 0 <= dropout < 1:
        raise ValueError(f"dropout is {dropout}; it must be from 0 up to, not including, 1")
    for name, count, bits in (("seed", seed, 63), ("step", step, 32), ("layer", layer, 32)):
        if not 0 <= count < 2**bits:
            raise ValueError(f"{name} is {count}; it must be from 0 up to, not including, 2^{bits}")
    return _dense(x, weight, bias, activation, dropout, seed, step, layer, step_at, backend)


def _is_plain_product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> bool:
    """Return whether PyTorch's own ops are the fastest: a product that is not large, on the CPU, with at most a ReLU.

    There is nothing to fuse, and after a product, which leaves no Python in the caches, an op's calls take 0.4 ms.
    Arguments that the checks of `dense` refuse are not such a product.
    """
    return (
        activation in ("identity", "relu")
        and all(type(t) in (Tensor, Parameter) and t.is_cpu and t.dtype == torch.float32 for t in (x, weight))
        and x.dim() == weight.dim() == 2
        and x.shape[1] == weight.shape[0]
        and 0 < x.shape[0] * weight.numel() < LARGE_PRODUCT
        and (bias is None or (type(bias) in (Tensor, Parameter) and bias.shape == weight.shape[1:]))
        and (bias is None or (bias.is_cpu and bias.dtype == torch.float32))
    )


@op("dense")
def _dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str,
    dropout: float,
    seed: int,
    step: int,
    layer: int,
    step_at: Tensor | None,
    backend: str,
) -> Tensor:
    settings = Dropout(dropout, seed, step if step_at is None else step_at, layer)
    return kernels("dense", backend, x).dense(x, weight, bias, activation, settings)


@_dense.register_fake
def _(x, weight, bias, activation, dropout, seed, step, layer, step_at, backend):
    return x.new_empty(x.shape[0], weight.shape[1])


@op("dense_backward")
def _dense_backward(
    grad_output: Tensor,
    output: Tensor,
    x: Tensor,
    weight: Tensor,
    activation: str,
    dropout: float,
    seed: int,
    step: int,
    layer: int,
    step_at: Tensor | None,
    need_x: bool,
    need_weight: bool,
    need_bias: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    settings = Dropout(dropout, seed, step if step_at is None else step_at, layer)
    gradients = kernels("dense", backend, x).dense_backward(
        grad_output, output, x, weight, activation, settings, need_x, need_weight, need_bias
    )
    return or_empty(gradients[0], x), or_empty(gradients[1], x), or_empty(gradients[2], x)


@_dense_backward.register_fake
def _(
    grad_output,
    output,
    x,
    weight,
    activation,
    dropout,
    seed,
    step,
    layer,
    step_at,
    need_x,
    need_weight,
    need_bias,
    backend,
):
    return (
        x.new_empty(x.shape if need_x else 0),
        x.new_empty(weight.shape if need_weight else 0),
        x.new_empty(weight.shape[1] if need_bias else 0),
    )


def _save_dense(ctx, inputs, output):
    x, weight, _, *ctx.settings, step_at, ctx.backend = inputs
    ctx.save_for_backward(output, x, weight, step_at)


def _differentiate_dense(ctx, grad_output):
    needs = ctx.needs_input_grad[:3]
    *tensors, step_at = ctx.saved_tensors
    gradients = _dense_backward(grad_output, *tensors, *ctx.settings, step_at, *needs, ctx.backend)
    return *(gradient if need else None for gradient, need in zip(gradients, needs, strict=True)), *(None,) * 7


_dense.register_autograd(_differentiate_dense, setup_context=_save_dense)
