"""partitioned_loss in plain PyTorch, on any device."""

from torch import Tensor

from .._eager.common import in_unit, upcast


def partitioned_loss(
    reconstruction: Tensor,
    target: Tensor,
    values: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r, t, v, y, mask = upcast(reconstruction, target, values, noise_only, foreground)
    y, mask = in_unit(y), in_unit(mask)
    batch = r.shape[0]
    share = mask.mean()
    weight = penalty * y[:, None, None] * mask**2 / share.where(share > 0, share.new_ones(()))
    error = r - t
    loss = ((error**2).sum() + (weight * v**2).sum()) / batch
    grad_reconstruction = (error * (2.0 / batch)).to(reconstruction.dtype).contiguous()
    return loss, grad_reconstruction, (weight * v * (2.0 / batch)).to(values.dtype).contiguous()
