"""Mask inference (Hetherly et al. 2018): the squared error of sources that softmax masks cut from a mixture.

    mask = softmax(logits) over s,   loss = mean over b, t, f, s of (sources - mask * mixture)^2

The softmax's derivative is dmask_i / dlogit_j = mask_i (delta_ij - mask_j).
"""

from typing import Any

import numpy as np

from .embeddings import Array


def ratio_mask_loss(logits: Any, mixture: Any, sources: Any) -> tuple[float, Array]:
    """Return the loss and its gradient with respect to logits (B, T, F, S)."""
    logits = np.asarray(logits, dtype=np.float64)
    mixture = np.asarray(mixture, dtype=np.float64)[..., None]
    mask = np.exp(logits - logits.max(axis=-1, keepdims=True))
    mask /= mask.sum(axis=-1, keepdims=True)
    error = mask * mixture - sources
    grad_mask = 2.0 * error * mixture / error.size
    return float(np.mean(error**2)), mask * (grad_mask - np.sum(mask * grad_mask, axis=-1, keepdims=True))
