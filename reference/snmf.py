"""Sparse non-negative matrix factorisation by the Kullback-Leibler divergence (Le Roux, Weninger & Hershey 2015).

Magnitudes V (N, H) are to be near A W, activations A (N, K) times a dictionary W (K, H) of rows of length 1:

    C(A, W) = sum V log(V / L) - V + L  +  sparsity * sum A,     L = A W

The multiplicative updates, of which none raises C; R = V / L, and w is the row of W that is updated:

    A <- A * (R W^T) / (1 W^T + sparsity)
    w <- w * (a^T R + w (w . a^T 1)) / (a^T 1 + w (w . a^T R)),  then scaled to length 1

The second terms in the row's update come of the length being part of the objective: without them sparsity would only
make the rows longer.
"""

import numpy as np


def objective(V, A, W, sparsity):
    """C, per frame."""
    L = A @ W
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where(V > 0, V * np.log(V / L), 0.0)
    return float((np.sum(logs - V + L) + sparsity * np.sum(A)) / len(V))


def update_activations(V, A, W, sparsity):
    """A after one update."""
    R = V / (A @ W)
    return A * (R @ W.T) / (W.sum(1) + sparsity)


def update_dictionary(V, A, W):
    """W after one update."""
    R = V / (A @ W)
    new = np.empty_like(W)
    for k, w in enumerate(W):
        attracted, active = A[:, k] @ R, np.full(W.shape[1], A[:, k].sum())
        row = w * (attracted + w * (w @ active)) / (active + w * (w @ attracted))
        new[k] = row / np.linalg.norm(row)
    return new
