"""upsample_conv2d: its checks, the custom op and its gradient."""

from collections.abc import Sequence

from torch import Tensor

from .common import kernels, or_empty
from .conv2d_pool import checked_conv2d, fake_gradients
from .custom_op import op


def upsample_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    scale: tuple[int, int] = (1, 1),
    backend: str = "auto",
    relu: bool = True,
) -> Tensor:
    """Up-sample by p in time and q in frequency (nearest), convolve by 3x3, add bias and rectify.

    The decoder's layers of Grais & Plumbley 2017, table 1. The up-sampled map is never built: taps that would read
    copies of the same number are summed in advance.

    Args:
        x, weight, bias, relu: as for `conv2d_pool`.
        scale: (p, q), each at least 1.

    Returns:
        The map (B, p N, q H, D), of x's type; under autocast, of its type.

    Raises: as `conv2d_pool`.

    >>> upsample_conv2d(torch.rand(2, 5, 4, 20), torch.randn(3, 3, 20, 12), torch.zeros(12), (3, 5)).shape
    torch.Size([2, 15, 20, 12])
    """
    x, weight, bias, scale = checked_conv2d(x, weight, bias, "scale", scale)
    return _upsample_conv2d(x, weight, bias, list(scale), relu, backend)


@op("upsample_conv2d")
def _upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor, scale: Sequence[int], relu: bool, backend: str) -> Tensor:
    p, q = scale
    return kernels("upsample_conv2d", backend, x).upsample_conv2d(x, weight, bias, (p, q), relu)


@_upsample_conv2d.register_fake
def _(x, weight, bias, scale, relu, backend):
    return x.new_empty(x.shape[0], x.shape[1] * scale[0], x.shape[2] * scale[1], weight.shape[3])


@op("upsample_conv2d_backward")
def _upsample_conv2d_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    scale: Sequence[int],
    relu: bool,
    need_x: bool,
    need_w: bool,
    need_bias: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    p, q = scale
    gradients = kernels("upsample_conv2d", backend, x).upsample_conv2d_backward(
        grad_out, x, weight, out, (p, q), relu, need_x, need_w, need_bias
    )
    return or_empty(gradients[0], x), or_empty(gradients[1], weight), or_empty(gradients[2], x)


@_upsample_conv2d_backward.register_fake
def _(grad_out, x, weight, out, scale, relu, need_x, need_w, need_bias, backend):
    return fake_gradients(x, weight, need_x, need_w, need_bias)


def _save_upsample_conv2d(ctx, inputs, output):
    x, weight, _, ctx.scale, ctx.relu, ctx.backend = inputs
    ctx.save_for_backward(x, weight, output)


def _differentiate_upsample_conv2d(ctx, grad_out):
    needed = ctx.needs_input_grad[:3]
    gradients = _upsample_conv2d_backward(grad_out, *ctx.saved_tensors, ctx.scale, ctx.relu, *needed, ctx.backend)
    return *(g if need else None for g, need in zip(gradients, needed, strict=True)), None, None, None


_upsample_conv2d.register_autograd(_differentiate_upsample_conv2d, setup_context=_save_upsample_conv2d)
