"""PyTorch tensors as NumPy arrays."""

import numpy as np
from torch import Tensor


def arrays(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    """Return the tensors as contiguous NumPy arrays, which share the memory of those that are contiguous."""
    # Tensors that are detached need no second detach, which takes as long as half of `numpy`.
    return tuple([(t.detach() if t.requires_grad else t).contiguous().numpy() for t in tensors])
