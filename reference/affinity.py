"""Deep clustering's loss in low-rank form (Hershey et al. 2016, equation 1; Hetherly et al. 2018).

With V the unit vectors of P points (embeddings.py), Y their labels as one-hot rows and W the weights on a diagonal,
an item's loss is, with Frobenius norms,

    squared     (|V'WV|^2 - 2 |V'WY|^2 + |Y'WY|^2) / (sum of weights)^2
    norm        |V'WV| - 2 |V'WY| + |Y'WY|                     as in the program of Hetherly et al.

and the loss is the mean over items. Its gradients with respect to V are

    squared     4 W (V V'WV - Y (V'WY)') / (sum of weights)^2
    norm        2 W (V V'WV / |V'WV| - Y (V'WY)' / |V'WY|)     if a norm is 0, its term is 0

An item without weight has loss 0.
"""

from typing import Any

import numpy as np

from .embeddings import Array, unit_vectors, unit_vectors_backward


def affinity_loss(embeddings: Any, labels: Array, weights: Any, sources: int, variant: str) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to embeddings (B, P, D). `weights` (B, P) None means ones."""
    batch = len(labels)
    units = unit_vectors(embeddings)
    weights = np.ones(labels.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    loss, grad_units = 0.0, np.zeros_like(units)
    for b in range(batch):
        v, y, w = units[b], np.eye(sources)[labels[b]], weights[b][:, None]
        among, across, within = v.T @ (w * v), v.T @ (w * y), y.T @ (w * y)
        norms = [float(np.linalg.norm(product)) for product in (among, across, within)]
        if variant == "squared":
            scale = 1.0 / w.sum() ** 2 if w.sum() != 0 else 0.0
            loss += scale * (norms[0] ** 2 - 2.0 * norms[1] ** 2 + norms[2] ** 2)
            grad_units[b] = 4.0 * scale * w * (v @ among - y @ across.T)
        else:
            loss += norms[0] - 2.0 * norms[1] + norms[2]
            for sign, factor, product, norm in ((1, v, among, norms[0]), (-1, y, across.T, norms[1])):
                grad_units[b] += sign * 2.0 * w * (factor @ product) / (norm if norm != 0 else 1.0)
    return loss / batch, unit_vectors_backward(grad_units / batch, embeddings)
