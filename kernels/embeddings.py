"""What the losses of embeddings share on every back-end: how a unit vector is made, and the check of labels.

    V = tanh(e) / sqrt(|tanh(e)|^2 + EPSILON)

EPSILON keeps a point whose embedding is 0 at V = 0. Where |tanh(e)| is above 0.005, float32 has |V| at 1.
"""

import torch
from torch import Tensor

EPSILON = 1e-12


def check_labels(labels: Tensor, sources: int) -> None:
    """ValueError where a label, in CPU memory, is none of 0 ... sources - 1."""
    low, high = (int(edge) for edge in torch.aminmax(labels))
    if low < 0 or high >= sources:
        raise ValueError(f"labels are {low} to {high} and there are {sources} sources: they must be 0 to {sources - 1}")
