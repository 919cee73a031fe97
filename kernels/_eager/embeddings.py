"""Unit vectors of embeddings in plain PyTorch, and the gradient through them."""

from torch import Tensor

from ..embeddings import EPSILON


def unit_vectors(embeddings: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return tanh(e), V and 1 / |tanh(e)| along the last axis."""
    squashed = embeddings.tanh()
    inverse = ((squashed**2).sum(-1, keepdim=True) + EPSILON).rsqrt()
    return squashed, squashed * inverse, inverse


def through_unit_vectors(grad: Tensor, squashed: Tensor, units: Tensor, inverse: Tensor) -> Tensor:
    """Return the gradient with respect to the embeddings, from the one with respect to V."""
    along = (grad * units).sum(-1, keepdim=True)
    return (grad - along * units) * inverse * (1.0 - squashed**2)
