"""Tensors in unusual memory layouts, and the memory that a call reads and writes."""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

_UNWRITTEN = -(2**30)  # the value of integers that were not written


def strided(tensor: Tensor) -> Tensor:
    """Return the same numbers at every second element of a longer, transposed storage, with NaN between them."""
    wide = tensor.new_full((*tensor.shape[::-1], 2), _filling(tensor))
    view = wide[..., 0].permute(*range(tensor.dim())[::-1])
    view.copy_(tensor)
    return view


def offset(tensor: Tensor) -> Tensor:
    """Return the same numbers, contiguous, from the fourth element of a storage with NaN before and after them."""
    wide = tensor.new_full((tensor.numel() + 8,), _filling(tensor))
    view = wide[3 : 3 + tensor.numel()].view(tensor.shape)
    view.copy_(tensor)
    return view


def _filling(tensor: Tensor) -> float:
    return math.nan if tensor.is_floating_point() else _UNWRITTEN if tensor.dtype.itemsize >= 4 else 0


def bits(tensor: Tensor) -> Tensor:
    """Return a copy of the tensor's numbers as bytes: equal for NaN of the same bits, different for 0 and -0."""
    return tensor.detach().clone(memory_format=torch.contiguous_format).reshape(-1).view(torch.uint8)


def storage(tensor: Tensor) -> Tensor:
    """Return all bytes of the storage that a tensor is a view of."""
    return torch.empty(0, dtype=torch.uint8, device=tensor.device).set_(tensor.untyped_storage())


def overwrite(tensor: Tensor, other: Tensor) -> None:
    """Overwrite a tensor with the numbers of another of the same layout."""
    with torch.no_grad():
        if 0 in tensor.stride():  # no element is written twice
            storage(tensor).copy_(storage(other))
        else:
            tensor.copy_(other)


@contextlib.contextmanager
def poisoned() -> Iterator[None]:
    """Fill uninitialised memory of PyTorch and NumPy with NaN, so that elements that were not written show.

    Functions of torch.compile run uncompiled inside: the compiler would trace the filling.
    """
    saved = torch.empty, torch.empty_like, torch.Tensor.new_empty, np.empty, np.empty_like
    torch.empty, torch.empty_like, torch.Tensor.new_empty = (_filled(function) for function in saved[:3])
    np.empty, np.empty_like = (_filled_array(function) for function in saved[3:])
    stance = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else contextlib.nullcontext()
    try:
        with stance:
            yield
    finally:
        torch.empty, torch.empty_like, torch.Tensor.new_empty, np.empty, np.empty_like = saved


def _filled(allocate: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def allocated(*args: Any, **kwargs: Any) -> Tensor:
        tensor = allocate(*args, **kwargs)
        if tensor.is_floating_point():
            return tensor.fill_(math.nan)
        return tensor.fill_(_UNWRITTEN) if tensor.dtype == torch.int32 else tensor

    return allocated


def _filled_array(allocate: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def allocated(*args: Any, **kwargs: Any) -> np.ndarray:
        array = allocate(*args, **kwargs)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        elif array.dtype == np.int32:
            array.fill(_UNWRITTEN)
        return array

    return allocated


def global_state() -> list[Any]:
    """Return global state that a kernel must not change: random numbers, gradient mode, default type, threads."""
    return [
        torch.get_rng_state().tolist(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
    ]
