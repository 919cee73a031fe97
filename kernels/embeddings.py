"""Unit vectors and the check of labels, for the losses of embeddings on every back-end.

    V = tanh(e) / sqrt(|tanh(e)|^2 + EPSILON)

EPSILON makes V = 0 where e = 0. In float32 |V| is 1 if |tanh(e)| is above 0.005.
"""

import torch
from torch import Tensor

EPSILON = 1e-12


def check_labels(labels: Tensor, sources: int) -> None:
    """Raise ValueError if a label, in CPU memory, is outside 0 ... sources - 1."""
    low, high = (int(edge) for edge in torch.aminmax(labels))
    if low < 0 or high >= sources:
        raise ValueError(f"labels are {low} to {high} and there are {sources} sources: they must be 0 to {sources - 1}")
