"""dense and its gradients, against the reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..kernels.dense import ACTIVATIONS, Dropout
from ..reference import dense as reference
from .cases import array, error, strided, twice
from .truth import differences


@dataclass(frozen=True)
class Case:
    """One layer and its input; `kind` is what is special about the numbers."""

    name: str
    batch: int
    inputs: int
    outputs: int
    activation: str = "mrelu"
    dropout: float = 0.0
    biased: bool = True
    kind: str = "random"
    seed: int = 2**40 + 3
    step: int = 5
    layer: int = 1


# Small enough for Triton's interpreter.
TINY = [
    Case("ones", 1, 1, 1, "identity"),
    *(Case(name, 5, 7, 6, name) for name in ACTIVATIONS),
    *(Case(f"{name}, dropout", 6, 5, 11, name, 0.4) for name in ACTIVATIONS),
    *(
        Case(f"{name} at 0, dropout", 3, 2, 9, name, 0.3, biased=False, kind="zeros")
        for name in ("identity", "relu", "leaky_relu")
    ),
    Case("no bias", 4, 3, 5, biased=False),
    Case("nearly all dropped", 3, 4, 10, "relu", 0.95),
    Case("counters at their ends", 3, 4, 6, "leaky_relu", 0.5, seed=2**63 - 1, step=2**32 - 1, layer=2**32 - 1),
    Case("not contiguous", 5, 6, 7, "relu", 0.2, kind="not contiguous"),
    Case("NaN in one item", 4, 3, 5, "mrelu", 0.25, kind="nan"),
    Case("primes", 37, 17, 41, "mrelu", 0.2),
]
LARGER = [
    *(Case(f"{n} items", n, 33, 35, "mrelu", 0.1) for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)),
    *(Case(f"{n} inputs", 19, n, 21, "leaky_relu") for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 257, 1031)),
    *(Case(f"{n} outputs", 18, 20, n, "relu", 0.3) for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 257, 1031)),
    Case("many items", 1031, 9, 11, "mrelu", 0.5),
    Case("Lusterman's supervised", 128, 513, 500),
    Case("wide", 20, 300, 700, "leaky_relu", 0.2),
]


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> SimpleNamespace:
    """Inputs of every pass for a case, the same on each call."""
    rng = np.random.default_rng(sum(case.name.encode()))

    def tensor(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.standard_normal(shape)).to(dtype).to(device)

    t = SimpleNamespace(
        x=tensor(case.batch, case.inputs),
        weight=tensor(case.inputs, case.outputs) / math.sqrt(case.inputs),
        bias=tensor(case.outputs) if case.biased else None,
        grad_output=tensor(case.batch, case.outputs),
    )
    if case.kind == "zeros":
        t.x = torch.zeros_like(t.x)
    if case.kind == "nan":
        t.x[case.batch // 2, 0] = math.nan
    if case.kind == "not contiguous":
        t = SimpleNamespace(**{name: strided(value) for name, value in vars(t).items()})
    return t


def _settings(case: Case) -> dict[str, Any]:
    """What the reference is told besides its inputs."""
    return {name: getattr(case, name) for name in ("activation", "dropout", "seed", "step", "layer")}


def _dropout(case: Case) -> Dropout:
    return Dropout(case.dropout, case.seed, case.step, case.layer)


def _truth(case: Case, t: SimpleNamespace) -> np.ndarray:
    return reference.dense(array(t.x), array(t.weight), array(t.bias), **_settings(case))


def dense(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    t = tensors(case, dtype, device)
    given = t.x, t.weight, t.bias, case.activation, _dropout(case)
    (output,), bits = twice(lambda: (implementation.dense(*given),))
    truth = _truth(case, t)
    same = np.array_equal(array(output) == 0, truth == 0) or case.activation == "relu" or dtype == torch.float16
    return {
        "types": 0.0 if output.dtype == dtype and output.is_contiguous() else math.inf,
        "output": error(output, truth),
        "mask": 0.0 if same else math.inf,
        "bits": bits,
    }


def dense_backward(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    output = torch.tensor(_truth(case, t)).to(dtype).to(device)
    given = t.grad_output, output, t.x, t.weight, case.activation, _dropout(case)
    g, x, weight, bias = (array(tensor) for tensor in (t.grad_output, t.x, t.weight, t.bias))
    wanted = reference.dense_backward(g, x, weight, bias, **_settings(case))
    found, bits = twice(lambda: implementation.dense_backward(*given, True, True, True))
    errors = {"bits": bits}
    for i, name in enumerate(("x", "weight", "bias")):
        errors[name] = error(found[i], wanted[i])
        alone = implementation.dense_backward(*given, *(j == i for j in range(3)))
        errors[f"{name} alone"] = error(alone[i], wanted[i])
        unwanted = any(alone[j] is not None for j in range(3) if j != i)
        errors[f"unwanted beside {name}"] = math.inf if unwanted else 0.0
    return errors


def _loops(case: Case, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """The outputs by the formulae, one number at a time."""
    e, out = 1e-5, np.zeros((case.batch, case.outputs))
    kept = reference.dropout_factor(out.shape, case.dropout, case.seed, case.step, case.layer)
    for b, o in np.ndindex(*out.shape):
        z = sum(x[b, i] * weight[i, o] for i in range(case.inputs)) + (0.0 if bias is None else bias[o])
        below = {"identity": z, "relu": 0.0, "leaky_relu": 0.01 * z, "mrelu": -e / (z - 1 - e)}[case.activation]
        out[b, o] = kept[b, o] * (z if z >= (e if case.activation == "mrelu" else 0) else below)
    return out


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Of the reference itself: (case, quantity, relative error) against loops and finite differences."""
    for case in TINY:
        if case.kind in ("nan", "zeros"):  # no gradient to agree with at a NaN or a kink
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        x, weight, bias, g = (array(tensor) for tensor in (t.x, t.weight, t.bias, t.grad_output))
        if op_pass == "dense":
            yield case.name, "output", _relative(_truth(case, t), _loops(case, x, weight, bias))
            continue
        settings = _settings(case)
        grad_x, grad_weight, grad_bias = reference.dense_backward(g, x, weight, bias, **settings)

        def total(x=x, weight=weight, bias=bias, g=g, settings=settings) -> float:
            return float(np.sum(g * reference.dense(x, weight, bias, **settings)))

        yield case.name, "x", _relative(grad_x, differences(lambda v, f=total: f(x=v), x))
        yield case.name, "weight", _relative(grad_weight, differences(lambda v, f=total: f(weight=v), weight))
        if bias is not None:
            yield case.name, "bias", _relative(grad_bias, differences(lambda v, f=total: f(bias=v), bias))


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    size = np.linalg.norm(wanted)
    return float(np.linalg.norm(found - wanted) / (size if size > 0 else 1.0))
