"""partitioned_loss in plain PyTorch, on any device."""

import math

from torch import Tensor

from ..encode.eager import wide


def in_unit(share: Tensor) -> Tensor:
    """NaN where a label or mask in GPU memory is outside [0, 1]: an error there would have to wait for the stream."""
    return share if share.is_cpu else share.where((share >= 0) & (share <= 1), math.nan)


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r, t, v, y, mask = wide(reconstruction, target, values, noise_only, foreground)
    y, mask = in_unit(y), in_unit(mask)
    batch = r.shape[0]
    share = mask.mean()
    weight = penalty * y[:, None, None] * mask**2 / share.where(share > 0, share.new_ones(()))
    error = r - t
    loss = ((error**2).sum() + (weight * v**2).sum()) / batch
    grad_reconstruction = (error * (2.0 / batch)).to(reconstruction.dtype).contiguous()
    return loss, grad_reconstruction, (weight * v * (2.0 / batch)).to(values.dtype).contiguous()
