"""Source-contrastive estimation (Hetherly et al. 2018): a point's embedding against the vectors of its mix's sources.

    loss = mean over b, t, f, s of -log sigmoid(y <V[b, t, f], u[b, s]>),   u[b, s] = table[sources[b, s]]

y is 1 where `labels` says that s is the loudest source of the mix, and -1 elsewhere. V is the embedding's unit vector
(embeddings.py); the table's vectors are taken as they are. d/dz -log sigmoid(z) = -sigmoid(-z).
"""

from typing import Any

import numpy as np

from .embeddings import Array, unit_vectors, unit_vectors_backward


def log_sigmoid(z: Array) -> Array:
    """log(1 / (1 + exp(-z))), where exp cannot overflow."""
    return np.minimum(z, 0.0) - np.log1p(np.exp(-np.abs(z)))


def contrastive_loss(embeddings: Any, table: Any, sources: Array, labels: Array) -> tuple[float, Array, Array]:
    """The loss, and its gradients with respect to embeddings (B, T, F, D) and table (R, D)."""
    table = np.asarray(table, dtype=np.float64)
    units, vectors = unit_vectors(embeddings), table[sources]
    sign = np.where(labels[..., None] == np.arange(sources.shape[1]), 1.0, -1.0)
    agreement = sign * np.einsum("btfd,bsd->btfs", units, vectors)
    slope = -sign * np.exp(log_sigmoid(-agreement)) / agreement.size
    grad_embeddings = unit_vectors_backward(np.einsum("btfs,bsd->btfd", slope, vectors), embeddings)
    grad_table = np.zeros_like(table)
    np.add.at(grad_table, sources, np.einsum("btfs,btfd->bsd", slope, units))
    return float(-np.mean(log_sigmoid(agreement))), grad_embeddings, grad_table
