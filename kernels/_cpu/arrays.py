"""PyTorch tensors as NumPy arrays."""

import numpy as np
from torch import Tensor


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Return the tensors as contiguous NumPy arrays, which share the memory of those that are contiguous."""
    return tuple(t.detach().contiguous().numpy() for t in tensors)
