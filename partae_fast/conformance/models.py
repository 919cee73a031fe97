"""The models of single frames against their reference: loss, every gradient by name, a step of Adam.

The pass of a model is `training_loss` on a back-end, followed by one step.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..models import CurroAutoencoder, DenseAutoencoder, DensePartitionedAutoencoder
from ..reference import dense_models as reference
from ..training.optimizers import Optimizer
from .comparison import WRONG, array, error
from .truth import differences

MODELS = ("dense_autoencoder", "partitioned_autoencoder", "curro_autoencoder")
TYPES = ("float32", "float64")
REFERENCE_TOLERANCE = 1e-6  # against finite differences
PENALTY = 0.75
# The smallest norm of a gradient relative to all: before batch normalisation that of a bias is 0 except for rounding.
_SHARE = 0.03

_ITEMS, _SIZES = 6, {"n_fft": 8, "seed": 1}  # 5 bins
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """The settings of a model, and its reference: (weights, x, target, noise_only) -> loss and gradients."""

    name: str
    make: Callable[[], Any]
    truth: Callable[..., tuple[float, Weights]]


def cases(name: str) -> list[Case]:
    """Return the cases of one of `MODELS`."""
    if name == "dense_autoencoder":
        supervised = [_supervised(n, layers="7", batch_norm=n) for n in ("none", "input", "hidden", "every")]
        deep: dict[str, Any] = {"layers": "7-4-7", "activation": "leaky_relu", "batch_norm": "every"}
        return [
            *supervised,
            _supervised("rectified", layers="7", rectified_output=True),
            _supervised("deep", **deep, l2=1e-2, l1=1e-2),
        ]
    if name == "partitioned_autoencoder":
        return [
            *(_partitioned(n, batch_norm=n) for n in ("none", "input", "every")),
            _partitioned("rectified", rectified_output=True),
            _partitioned("mean over items", mean_over_items=True, background=0.5),
            _partitioned("one latent left out", unpenalised=1),
        ]
    return [_curro(n, batch_norm=n) for n in ("none", "input", "every")]


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return x and target (6, 5), and noise_only (6,), float64."""
    x, target = 3 * torch.rand(2, _ITEMS, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, target, (torch.arange(_ITEMS) < 2).double()


def weights_of(model: torch.nn.Module) -> Weights:
    """Return the parameters of a model by name, float64."""
    return {name: parameter.detach().double().cpu().numpy().copy() for name, parameter in model.named_parameters()}


def errors(name: str, backend: str, kind: str, device: torch.device) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of a model on a back-end, in one type."""
    dtype = getattr(torch, kind)
    for case in cases(name):
        model = case.make().to(device, dtype)
        before = weights_of(model)
        arrays = [part.to(dtype).double().numpy() for part in batch()]
        truth, gradients = case.truth(before, *arrays)
        optimizer = Optimizer("adam", dict(model.named_parameters()), {})
        loss = model.training_loss(tuple(part.to(device, dtype) for part in batch()), PENALTY, backend)
        loss.backward()
        yield case.name, "loss", error(loss, truth)
        least = _SHARE * float(np.sqrt(sum(np.sum(gradient**2) for gradient in gradients.values())))
        for parameter, value in model.named_parameters():
            difference = np.linalg.norm(array(value.grad) - gradients[parameter])
            size = max(float(np.linalg.norm(gradients[parameter])), least)
            yield case.name, parameter, float(difference / size) if np.isfinite(difference) else WRONG
        # Adam's first step is nearly the sign of the gradient, so the reference steps with the same gradients.
        gradients = {parameter: value.grad.double().cpu().numpy() for parameter, value in model.named_parameters()}
        optimizer.step(0)
        after = reference.adam_step(before, gradients)
        for parameter, value in model.named_parameters():
            yield case.name, f"{parameter}, after a step", error(value, after[parameter])


def reference_errors(name: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference's gradients, against finite differences."""
    for case in cases(name):
        weights, arrays = weights_of(case.make().double()), [part.numpy() for part in batch()]
        _, gradients = case.truth(weights, *arrays)
        for parameter, gradient in gradients.items():

            def loss(value: np.ndarray, parameter: str = parameter, weights: Weights = weights) -> float:
                return case.truth(weights | {parameter: value}, *arrays)[0]  # noqa: B023 (called before the next case)

            expected = differences(loss, weights[parameter])
            size = max(1.0, float(np.linalg.norm(expected)))
            yield case.name, parameter, float(np.linalg.norm(gradient - expected)) / size


def _supervised(name: str, **settings: Any) -> Case:
    made = DenseAutoencoder(**_SIZES, **settings)
    kept = {key: getattr(made, key) for key in ("activation", "rectified_output", "l2", "l1")}
    return Case(
        name,
        lambda: DenseAutoencoder(**_SIZES, **settings),
        lambda w, x, target, y: reference.dense_autoencoder(w, x, target, **kept),
    )


def _partitioned(name: str, **settings: Any) -> Case:
    made = DensePartitionedAutoencoder(**_SIZES, latents=7, **settings)
    kept = {key: getattr(made, key) for key in ("rectified_output", "mean_over_items", "unpenalised")}
    return Case(
        name,
        lambda: DensePartitionedAutoencoder(**_SIZES, latents=7, **settings),
        lambda w, x, _, y: reference.partitioned_autoencoder(w, x, y, made.noise_latents, PENALTY, **kept),
    )


def _curro(name: str, **settings: Any) -> Case:
    sizes: dict[str, Any] = {**_SIZES, "hidden": 9, "latents": 4, "decoder": 6}
    return Case(
        name,
        lambda: CurroAutoencoder(**sizes, **settings),
        lambda w, x, _, y: reference.curro_autoencoder(w, x, y),
    )
