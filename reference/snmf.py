"""Sparse non-negative matrix factorisation by the Kullback-Leibler divergence (Le Roux, Weninger & Hershey 2015).

Magnitudes V (N, H) are approximated by A W, activations A (N, K) times a dictionary W (K, H) of rows of length 1:

    C(A, W) = sum V log(V / L) - V + L  +  sparsity * sum A,     L = A W

No multiplicative update increases C. With R = V / L, and w the row of W that is updated:

    A <- A * (R W^T) / (1 W^T + sparsity)
    w <- w * (a^T R + w (w . a^T 1)) / (a^T 1 + w (w . a^T R)),  then scaled to length 1

The second terms in the update of w are due to its length being fixed: without it, sparsity would only make the rows
longer.
"""

import numpy as np


def objective(V, A, W, sparsity):
    """Return C divided by the number of frames."""
    L = A @ W
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(V > 0, V * np.log(V / L), 0.0)
    return float((np.sum(logs - V + L) + sparsity * np.sum(A)) / len(V))


def update_activations(V, A, W, sparsity):
    """Return A after one update."""
    R = V / (A @ W)
    return A * (R @ W.T) / (W.sum(1) + sparsity)


def update_dictionary(V, A, W):
    """Return W after one update."""
    R = V / (A @ W)
    new = np.empty_like(W)
    for k, w in enumerate(W):
        attracted, active = A[:, k] @ R, np.full(W.shape[1], A[:, k].sum())
        row = w * (attracted + w * (w @ active)) / (active + w * (w @ attracted))
        new[k] = row / np.linalg.norm(row)
    return new
