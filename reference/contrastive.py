"""Source-contrastive estimation (Hetherly et al. 2018): embeddings against the vectors of the mixture's sources.

    loss = mean over b, t, f, s of -log sigmoid(y <V[b, t, f], u[b, s]>),   u[b, s] = table[sources[b, s]]

y is 1 if `labels` has s as the loudest source at the point, else -1. V is the embedding's unit vector
(embeddings.py); the table's vectors are not scaled. d/dz -log sigmoid(z) = -sigmoid(-z).
"""

from typing import Any

import numpy as np

from .embeddings import Array, unit_vectors, unit_vectors_backward


def log_sigmoid(z: Array) -> Array:
    """Return log(1 / (1 + exp(-z))) without overflow."""
    return np.minimum(z, 0.0) - np.log1p(np.exp(-np.abs(z)))


def contrastive_loss(embeddings: Any, table: Any, sources: Array, labels: Array) -> tuple[float, Array, Array]:
    """Return the loss and its gradients with respect to embeddings (B, T, F, D) and table (R, D)."""
    table = np.asarray(table, dtype=np.float64)
    units, vectors = unit_vectors(embeddings), table[sources]
    sign = np.where(labels[..., None] == np.arange(sources.shape[1]), 1.0, -1.0)
    agreement = sign * np.einsum("btfd,bsd->btfs", units, vectors)
    slope = -sign * np.exp(log_sigmoid(-agreement)) / agreement.size
    grad_embeddings = unit_vectors_backward(np.einsum("btfs,bsd->btfd", slope, vectors), embeddings)
    grad_table = np.zeros_like(table)
    np.add.at(grad_table, sources, np.einsum("btfs,btfd->bsd", slope, units))
    return float(-np.mean(log_sigmoid(agreement))), grad_embeddings, grad_table
