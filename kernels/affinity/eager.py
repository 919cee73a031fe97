"""affinity_loss in plain PyTorch, on any device."""

import torch.nn.functional as F
from torch import Tensor

from .._eager.common import upcast
from .._eager.embeddings import through_unit_vectors, unit_vectors
from ..embeddings import check_labels
from .scales import scales


def affinity_loss(
    embeddings: Tensor, labels: Tensor, weights: Tensor | None, sources: int, variant: str
) -> tuple[Tensor, Tensor]:
    if labels.is_cpu:
        check_labels(labels, sources)
    e, w = upcast(embeddings, weights)
    w = e.new_ones(e.shape[:2]) if w is None else w
    squashed, units, inverse = unit_vectors(e)
    members = F.one_hot(labels.long(), sources).to(e.dtype)
    weighted = (w[..., None] * units).mT
    among, across = weighted @ units, weighted @ members  # (B, D, D), (B, D, S)
    sizes = (w[..., None] * members).sum(1)  # (B, S), the diagonal of Y'WY
    losses, scale_among, scale_across = scales(among, across, sizes, variant)
    grad_units = units @ (scale_among[:, None, None] * among) - members @ (scale_across[:, None, None] * across).mT
    grad_units = w[..., None] * grad_units / len(e)
    grad = through_unit_vectors(grad_units, squashed, units, inverse)
    return losses.mean(), grad.to(embeddings.dtype).contiguous()
