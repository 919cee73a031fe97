"""Shared checks of losses whose kernels return gradients in the same pass."""

from collections.abc import Callable, Iterable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .cases import placed
from .comparison import Output, array
from .examination import Call
from .truth import differences

# Kinds whose gradients finite differences cannot check.
UNEVEN = ("nan", "nan table", "nan source", "silent", "saturated", "tiny", "huge", "infinite")


def loss_call(arguments: Iterable[Any], truth: dict[str, Any], dtype: torch.dtype) -> list[Call]:
    """Return the call of a pass that returns a loss, float32 or wider, and gradients of the storage type."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    kinds = [wide] + [dtype] * (len(truth) - 1)
    outputs = [Output(name, value, kind) for (name, value), kind in zip(truth.items(), kinds, strict=True)]
    return [Call(tuple(arguments), tuple(outputs))]


def maker(kind: str, dtype: torch.dtype, device: torch.device) -> Callable[[np.ndarray], torch.Tensor]:
    """Return a function that makes arrays tensors of the storage type, or of integers, in the layout of `kind`."""

    def tensor(numbers: np.ndarray) -> torch.Tensor:
        made = torch.tensor(numbers).to(device)
        return placed(made.to(dtype) if made.is_floating_point() else made, kind)

    return tensor


def embeddings(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Return outputs of a linear layer (..., D), of magnitude 1 or as `kind` requires."""
    numbers = rng.standard_normal(shape)
    numbers *= {"tiny": 1e-6, "small": 0.01, "saturated": 30.0}.get(kind, 1.0)
    points = numbers.reshape(-1, shape[-1])
    if kind == "silent":
        points[::3] = 0.0
    if kind == "nan":
        points[len(points) // 2, 0] = np.nan
    return numbers


def arrays(t: SimpleNamespace) -> SimpleNamespace:
    """Return the tensors of a case as NumPy arrays."""
    return SimpleNamespace(**{k: array(v) if isinstance(v, torch.Tensor) else v for k, v in vars(t).items()})


def truth_errors(
    name: str, loss: float, plain: float, gradients: dict[str, tuple[np.ndarray, Callable, np.ndarray]]
) -> Iterator[tuple[str, str, float]]:
    """Yield errors of the reference: its loss against loops, each (gradient, function, point) against differences."""
    yield name, "loss", abs(loss - plain) / (abs(plain) or 1.0)
    for quantity, (gradient, function, at) in gradients.items():
        expected = differences(function, at)
        size = np.linalg.norm(expected)
        yield name, quantity, float(np.linalg.norm(gradient - expected) / (size if size > 0 else 1.0))
