"""Non-negative matrix factorisation by multiplicative updates (Lee & Seung 2001), with optional fixed rows.

    X (N, H) ~ A D          A (N, K) activations, D (K, H) dictionary; the first rows of D may be fixed

Squared error |X - AD|^2:

    A <- A * (X D^T) / (A D D^T)                D <- D * (A^T X) / (A^T A D)

Generalised Kullback-Leibler divergence, sum of X log(X / AD) - X + AD:

    A <- A * ((X / AD) D^T) / (1 D^T)           D <- D * (A^T (X / AD)) / (A^T 1)

No update increases its error. Semi-supervised separation (Smaragdis, Raj & Shashanka 2007; Kim & Smaragdis 2015,
section 2.1): the dictionary of speech is learned from clean speech and fixed, and further rows are free and model the
noise. The estimate of the speech is X * (A_s D_s) / (A D).
"""

import numpy as np

Array = np.ndarray

TINY = 1e-12  # added to divisors


def error(x: Array, activations: Array, dictionary: Array, divergence: str) -> float:
    """Return the error that the updates reduce; divergence is "euclidean" or "kl"."""
    product = activations @ dictionary + TINY
    if divergence == "euclidean":
        return float(np.sum((x - product) ** 2))
    logarithm = np.log(np.where(x > 0, x, 1.0) / product)
    return float(np.sum(np.where(x > 0, x * logarithm, 0.0) - x + product))


def update(x: Array, activations: Array, dictionary: Array, fixed: int, divergence: str) -> tuple[Array, Array]:
    """Update A, then D, whose first `fixed` rows stay."""
    activations = activations * _factor(x, activations, dictionary, divergence, of_dictionary=False)
    factor = _factor(x, activations, dictionary, divergence, of_dictionary=True)
    factor[:fixed] = 1.0
    return activations, dictionary * factor


def _factor(x: Array, activations: Array, dictionary: Array, divergence: str, of_dictionary: bool) -> Array:
    product = activations @ dictionary
    ratio = x / (product + TINY)
    above, below = (x, product) if divergence == "euclidean" else (ratio, np.ones_like(x))
    if of_dictionary:
        return (activations.T @ above) / (activations.T @ below + TINY)
    return (above @ dictionary.T) / (below @ dictionary.T + TINY)
