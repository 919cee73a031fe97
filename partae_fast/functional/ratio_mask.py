"""ratio_mask_loss: its checks, the custom op and its gradient."""

import torch
from torch import Tensor

from .common import autocast, check_alike, check_dimensions, kernels, new_loss, no_gradient, returns_gradients
from .custom_op import op


def ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor, backend: str = "auto") -> Tensor:
    """Compute the loss of mask inference: the squared error of sources that softmax masks cut from a mixture.

        mean over b, t, f and s of  (sources - softmax(logits) * mixture)^2,   softmax over the S sources

    Luo et al. 2017, Hetherly et al. 2018.

    Args:
        logits: (B, T, F, S) the mask head's output, before softmax.
        mixture: (B, T, F) magnitudes of the mixture, >= 0, of the type of `logits`.
        sources: (B, T, F, S) magnitudes of each source, >= 0, likewise.

    Returns:
        A scalar: float32, or float64 for float64 input; under autocast computed in float32. Gradients reach logits.

    >>> logits, parts = torch.randn(2, 10, 5, 2), torch.rand(2, 10, 5, 2)
    >>> ratio_mask_loss(logits, parts.sum(-1), parts).shape
    torch.Size([])
    """
    check_dimensions(logits=(logits, "B, T, F, S"), mixture=(mixture, "B, T, F"), sources=(sources, "B, T, F, S"))
    if mixture.shape != logits.shape[:3] or sources.shape != logits.shape:
        raise ValueError(
            f"logits are {tuple(logits.shape)}, mixture {tuple(mixture.shape)} and sources {tuple(sources.shape)};"
            " give (B, T, F, S), (B, T, F) and (B, T, F, S)"
        )
    logits, mixture, sources = autocast(logits, mixture, sources, dtype=torch.float32)
    check_alike(logits=logits, mixture=mixture, sources=sources)
    no_gradient(mixture=mixture, sources=sources)
    return _ratio_mask_loss(logits, mixture, sources, backend)[0]


@op("ratio_mask_loss")
def _ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return kernels("ratio_mask", backend, logits).ratio_mask_loss(logits, mixture, sources)


@_ratio_mask_loss.register_fake
def _(logits, mixture, sources, backend):
    return new_loss(logits), logits.new_empty(logits.shape)


returns_gradients(_ratio_mask_loss, 0)
