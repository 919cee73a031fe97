"""What the checks of losses share that return their gradients in the same pass."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from .cases import WRONG, array, error, strided, twice
from .truth import differences

UNEVEN = ("nan", "silent", "saturated", "tiny")  # kinds where no difference tells the gradient


def compared(run: Callable[[], tuple], wanted: dict[str, Any], dtype: torch.dtype) -> dict[str, float]:
    """Errors by name of what `run` returns: a loss, float32 or wider, and its gradients, of the storage type."""
    found, bits = twice(run)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    kinds = [tensor.dtype for tensor in found]
    right = kinds == [wide] + [dtype] * (len(found) - 1)
    errors = {name: error(tensor, truth) for (name, truth), tensor in zip(wanted.items(), found, strict=True)}
    return {"types": 0.0 if right else WRONG, **errors, "bits": bits}


def maker(kind: str, dtype: torch.dtype, device: torch.device) -> Callable[[np.ndarray], torch.Tensor]:
    """Makes arrays tensors of the storage type (integers stay what they are), not contiguous where `kind` says so."""

    def tensor(numbers: np.ndarray) -> torch.Tensor:
        made = torch.tensor(numbers).to(device)
        made = made.to(dtype) if made.is_floating_point() else made
        return strided(made) if kind == "not contiguous" and made.is_floating_point() else made

    return tensor


def embeddings(rng: np.random.Generator, shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Outputs of a linear layer (..., D): about 1, or as `kind` says."""
    drawn = rng.standard_normal(shape)
    drawn *= {"tiny": 1e-6, "small": 0.01, "saturated": 30.0}.get(kind, 1.0)
    points = drawn.reshape(-1, shape[-1])
    if kind == "silent":
        points[::3] = 0.0
    if kind == "nan":
        points[len(points) // 2, 0] = np.nan
    return drawn


def arrays(t: SimpleNamespace) -> SimpleNamespace:
    """The tensors of a case as NumPy arrays."""
    return SimpleNamespace(**{k: array(v) if isinstance(v, torch.Tensor) else v for k, v in vars(t).items()})


def truth_errors(
    name: str, loss: float, plain: float, gradients: dict[str, tuple[np.ndarray, Callable, np.ndarray]]
) -> Iterator[tuple[str, str, float]]:
    """Of the reference: its loss against the same by loops; each gradient (found, function, at) against differences."""
    yield name, "loss", abs(loss - plain) / (abs(plain) or 1.0)
    for quantity, (found, function, at) in gradients.items():
        wanted = differences(function, at)
        size = np.linalg.norm(wanted)
        yield name, quantity, float(np.linalg.norm(found - wanted) / (size if size > 0 else 1.0))
