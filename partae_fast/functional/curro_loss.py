"""curro_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import (
    autocast,
    check_alike,
    check_devices,
    check_dimensions,
    check_shares,
    check_tensors,
    kernels,
    new_loss,
    no_gradient,
    returns_gradients,
)
from .custom_op import op


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor, backend: str = "auto") -> Tensor:
    """Compute the training loss of the Curro autoencoder (Lusterman 2016, equation 40).

        mean over items of  sum over bins ((1 - y) * signal + noise - target)^2

    Args:
        signal, noise: (B, H), the shared decoder's output for the signal half and for the noise half of the latents.
        target: (B, H), the frames that their sum should equal.
        noise_only: (B,) weak labels y in [0, 1]: 1 for a noise-only item, whose signal half then has no effect. A
            label out of range raises ValueError on the CPU; on a GPU, where a check would synchronize the stream, the
            loss is NaN. It is data: it gets no gradient.

    Returns:
        A scalar: float32, or float64 for float64 input; under autocast computed in float32. Gradients reach signal,
        noise and target.

    >>> frames = torch.rand(3, 2, 5)
    >>> curro_loss(*frames, noise_only=torch.tensor([0.0, 1.0])).shape
    torch.Size([])
    """
    check_dimensions(signal=(signal, "B, H"))
    check_tensors(noise=noise, target=target, noise_only=noise_only)
    for name, tensor in (("noise", noise), ("target", target)):
        if tensor.shape != signal.shape:
            raise ValueError(
                f"{name} is {tuple(tensor.shape)} and signal {tuple(signal.shape)}; all three are (B, H), of one shape"
            )
    if noise_only.shape != signal.shape[:1]:
        raise ValueError(
            f"noise_only is {tuple(noise_only.shape)} for {signal.shape[0]} items; it is (B,), a label for each item"
        )
    no_gradient(noise_only=noise_only)
    signal, noise, target = autocast(signal, noise, target, dtype=torch.float32)
    check_alike(signal=signal, noise=noise, target=target)
    check_devices(signal=signal, noise_only=noise_only)
    loss, _, _ = _curro_loss(signal, noise, target, noise_only.to(signal.dtype), backend)
    return loss


@op("curro_loss")
def _curro_loss(
    signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    check_shares(noise_only=noise_only)
    return kernels("curro_loss", backend, signal).curro_loss(signal, noise, target, noise_only)


@_curro_loss.register_fake
def _(signal, noise, target, noise_only, backend):
    return new_loss(signal), signal.new_empty(signal.shape), signal.new_empty(signal.shape)


returns_gradients(_curro_loss, 0, 1, target=(2, 1))
