"""An embedding's unit vector, as the losses of embeddings take it (Hetherly et al. 2018).

    V = tanh(e) / sqrt(|tanh(e)|^2 + EPSILON)

so that a point whose embedding is 0 has V = 0.
"""

from typing import Any

import numpy as np

Array = np.ndarray
EPSILON = 1e-12


def unit_vectors(embeddings: Any) -> Array:
    """V (..., D) of the linear layer's output."""
    squashed = np.tanh(np.asarray(embeddings, dtype=np.float64))
    return squashed / np.sqrt(np.sum(squashed**2, axis=-1, keepdims=True) + EPSILON)


def unit_vectors_backward(grad_units: Array, embeddings: Any) -> Array:
    """The gradient with respect to the embeddings: dV/dtanh = (I - V V') / sqrt(|tanh|^2 + EPSILON)."""
    squashed = np.tanh(np.asarray(embeddings, dtype=np.float64))
    length = np.sqrt(np.sum(squashed**2, axis=-1, keepdims=True) + EPSILON)
    units = squashed / length
    across = grad_units - np.sum(grad_units * units, axis=-1, keepdims=True) * units
    return across / length * (1.0 - squashed**2)
