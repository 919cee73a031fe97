"""Unit vectors of embeddings for their losses (Hetherly et al. 2018).

    V = tanh(e) / sqrt(|tanh(e)|^2 + EPSILON)

EPSILON makes V = 0 for an embedding of 0.
"""

from typing import Any

import numpy as np

Array = np.ndarray
EPSILON = 1e-12


def unit_vectors(embeddings: Any) -> Array:
    """Return V (..., D) for the linear layer's output."""
    squashed = np.tanh(np.asarray(embeddings, dtype=np.float64))
    return squashed / np.sqrt(np.sum(squashed**2, axis=-1, keepdims=True) + EPSILON)


def unit_vectors_backward(grad_units: Array, embeddings: Any) -> Array:
    """Return the gradient with respect to the embeddings: dV/dtanh = (I - V V') / sqrt(|tanh|^2 + EPSILON)."""
    squashed = np.tanh(np.asarray(embeddings, dtype=np.float64))
    length = np.sqrt(np.sum(squashed**2, axis=-1, keepdims=True) + EPSILON)
    units = squashed / length
    across = grad_units - np.sum(grad_units * units, axis=-1, keepdims=True) * units
    return across / length * (1.0 - squashed**2)
