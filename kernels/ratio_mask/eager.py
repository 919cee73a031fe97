"""ratio_mask_loss in plain PyTorch, on any device."""

from torch import Tensor

from .._eager.common import upcast


def ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor) -> tuple[Tensor, Tensor]:
    z, whole, parts = upcast(logits, mixture, sources)
    mask = z.softmax(-1)
    error = mask * whole[..., None] - parts
    grad_mask = (2.0 / error.numel()) * error * whole[..., None]
    grad_logits = mask * (grad_mask - (mask * grad_mask).sum(-1, keepdim=True))
    return (error**2).mean(), grad_logits.to(logits.dtype).contiguous()
