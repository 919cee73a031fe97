"""curro_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import check_alike, check_devices, check_dimensions, kernels, op, scaled


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor, backend: str = "auto") -> Tensor:
    """The training loss of the Curro autoencoder (Lusterman 2016, equation 40).

        mean over items of  sum over bins ((1 - y) * signal + noise - target)^2

    Args:
        signal, noise: (B, H), what the shared decoder makes of the signal half and of the noise half of the latents.
        target: (B, H), what their sum is to be.
        noise_only: (B,) the weak label y, in [0, 1]: 1 where the item is noise-only, whose signal half then has no say.

    Returns:
        A scalar: float32, or float64 for float64 input. Gradients reach signal, noise and target.

    >>> frames = torch.rand(3, 2, 5)
    >>> curro_loss(*frames, noise_only=torch.tensor([0.0, 1.0])).shape
    torch.Size([])
    """
    check_dimensions(signal=(signal, "B, H"))
    for name, tensor in (("noise", noise), ("target", target)):
        if tensor.shape != signal.shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} and signal {tuple(signal.shape)}; all three are (B, H), of one shape"
            )
    if noise_only.shape != signal.shape[:1]:
        raise ValueError(
            f"noise_only is {tuple(noise_only.shape)} for {signal.shape[0]} items; it is (B,), a label for each item"
        )
    check_alike(signal=signal, noise=noise, target=target)
    check_devices(signal=signal, noise_only=noise_only)
    loss, _, _ = torch.ops.partae.curro_loss(signal, noise, target, noise_only.to(signal.dtype), backend)
    return loss


@op("curro_loss")
def _curro_loss(
    signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return kernels("curro_loss", backend, signal).curro_loss(signal, noise, target, noise_only)


@_curro_loss.register_fake
def _(signal, noise, target, noise_only, backend):
    wide = torch.float64 if signal.dtype == torch.float64 else torch.float32
    return signal.new_empty((), dtype=wide), signal.new_empty(signal.shape), signal.new_empty(signal.shape)


def _save_loss(ctx, inputs, output):
    _, grad_signal, grad_noise = output
    ctx.mark_non_differentiable(grad_signal, grad_noise)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(grad_signal, grad_noise)


def _differentiate_loss(ctx, grad_loss, *_):
    if grad_loss is None:
        return (None,) * 5
    grad_signal, grad_noise = scaled(grad_loss, *ctx.saved_tensors)
    need_signal, need_noise, need_target = ctx.needs_input_grad[:3]
    return (
        grad_signal if need_signal else None,
        grad_noise if need_noise else None,
        -grad_noise if need_target else None,
        None,
        None,
    )


_curro_loss.register_autograd(_differentiate_loss, setup_context=_save_loss)
