"""partitioned_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import (
    autocast,
    check_alike,
    check_devices,
    check_penalty,
    check_shares,
    check_tensors,
    kernels,
    new_loss,
    no_gradient,
    number,
    returns_gradients,
)
from .custom_op import op
from .decode import decode
from .encode import encode


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
    negative_slope: float = 0.0,
    rectified_output: bool = False,
) -> Tensor:
    """Compute the training loss of the partitioned autoencoder (Stowell & Turner 2015, section 3).

    With r the decoded reconstruction of x, the loss is

        mean over items of  sum (target - r)^2  +  penalty * y / mean(C) * sum (C * values)^2

    Args:
        x, mean, std, w_enc, pool, negative_slope: as for `encode`; w_dec: as for `decode`.
        noise_only: (B,) weak labels y in [0, 1]: 1 for a noise-only item. A label out of range raises ValueError on the
            CPU; on a GPU, where a check would synchronize the stream, the loss is NaN. It is data: it gets no gradient.
        foreground: (K,) the mask C in [0, 1]: 1 for a latent of the signal. If all of it is 0, the penalty term is 0.
            It is data too.
        penalty: lambda, finite and >= 0, the weight of foreground activity in noise-only items.
        target: (B, N, H) to reconstruct; None for x itself.
        rectified_output: whether r is max(decoded, 0).

    Returns:
        A scalar: float32, or float64 for float64 input. Gradients reach x, w_enc, w_dec and target. Under autocast
        encode and decode run in its type and the loss in float32, as PyTorch's losses do.

    Raises:
        ValueError, TypeError, BackendUnavailable, NotImplementedError: as `encode` and `decode`. ValueError too if a
            label, the mask or the penalty is out of range, or one of them requires a gradient.

    >>> w_enc, w_dec = torch.randn(5, 8, 4), torch.randn(5, 4, 8)
    >>> y, c = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0, 1.0, 1.0])
    >>> partitioned_loss(torch.rand(2, 64, 8), None, None, w_enc, w_dec, y, c, penalty=0.75, pool=8).shape
    torch.Size([])
    """
    check_tensors(noise_only=noise_only, foreground=foreground)
    no_gradient(noise_only=noise_only, foreground=foreground)
    if target is not None:
        check_tensors(target=target)
    values, positions = encode(x, w_enc, pool, mean, std, backend, negative_slope)
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
    reconstruction, target, values = autocast(reconstruction, target, values, dtype=torch.float32)
    check_alike(x=reconstruction, target=target)
    check_devices(x=x, noise_only=noise_only, foreground=foreground)
    noise_only, foreground = noise_only.to(reconstruction.dtype), foreground.to(reconstruction.dtype)
    loss, _, _ = _partitioned_loss(
        reconstruction, target, values, noise_only, foreground, number("penalty", penalty), backend
    )
    return loss


@op("partitioned_loss")
def _partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    check_penalty(penalty)
    check_shares(noise_only=noise_only, foreground=foreground)
    return kernels("partitioned_loss", backend, reconstruction).partitioned_loss(
        reconstruction, target, values, noise_only, foreground, penalty
    )


@_partitioned_loss.register_fake
def _(reconstruction, target, values, noise_only, foreground, penalty, backend):
    return new_loss(reconstruction), reconstruction.new_empty(reconstruction.shape), values.new_empty(values.shape)


returns_gradients(_partitioned_loss, 0, 2, target=(1, 0))
