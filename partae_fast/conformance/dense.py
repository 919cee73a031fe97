"""dense and its gradients, against the reference."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..kernels.dense import ACTIVATIONS, Dropout
from ..reference import dense as reference
from .cases import draw_sizes, generator, graded, one_large, placed, scale_of, two_large
from .comparison import WRONG, Output, array, error
from .conv2d_pool import gradient_calls
from .examination import Call, examined
from .truth import differences


@dataclass(frozen=True)
class Case:
    """The sizes and settings of a layer; `kind` is the property of its numbers."""

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
    *(Case(f"NaN in one weight, {name}", 4, 3, 5, name, kind="nan filters") for name in ACTIVATIONS),
    *(Case(f"NaN from above, {name}", 4, 3, 5, name, 0.25, kind="nan above") for name in ACTIVATIONS),
    *(Case(f"NaN in one item, {name}", 4, 3, 5, name, 0.25, kind="nan") for name in ACTIVATIONS[:2]),
    *(Case(f"infinite from above, {name}", 4, 3, 5, name, 0.25, kind="infinite above") for name in ACTIVATIONS),
    *(Case(f"infinite, {name}", 4, 3, 5, name, kind="infinite") for name in ACTIVATIONS),
    Case("tiny numbers", 4, 6, 5, "leaky_relu", 0.2, kind="tiny"),
    Case("huge numbers", 4, 6, 5, "leaky_relu", 0.2, kind="huge"),
    Case("huge numbers, mrelu", 4, 6, 5, "mrelu", kind="huge"),
    Case("items of many scales", 5, 6, 5, "relu", kind="graded"),
    Case("offset in storage", 5, 7, 11, "mrelu", 0.2, kind="offset"),
    Case("one number from above", 5, 7, 11, "leaky_relu", 0.2, kind="expanded"),
    Case("step 65543", 4, 5, 11, "relu", 0.4, step=65_543),
    Case("layer 300", 4, 5, 11, "relu", 0.4, layer=300),
    Case("seed 3", 4, 5, 11, "relu", 0.4, seed=3),
    Case("primes", 37, 17, 41, "mrelu", 0.2),
]
_SMALL = {"batch": 5, "inputs": 7, "outputs": 6}


def _dropping(name: str, **sizes: Any) -> Case:
    return Case(name, **sizes, activation="leaky_relu", dropout=0.3)


LARGER = [
    *(Case(f"{n} items", n, 33, 35, "mrelu", 0.1) for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129)),
    *(Case(f"{n} inputs", 19, n, 21, "leaky_relu") for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 257, 1031)),
    *(Case(f"{n} outputs", 18, 20, n, "relu", 0.3) for n in (15, 16, 17, 31, 32, 33, 63, 64, 65, 129, 257, 1031)),
    Case("many items", 1031, 9, 11, "mrelu", 0.5),
    Case("Lusterman's supervised", 128, 513, 500),
    Case("wide", 20, 300, 700, "leaky_relu", 0.2),
]
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(_dropping, _SMALL, {"batch": 9001, "inputs": 20_011, "outputs": 20_011}),
    *two_large(_dropping, _SMALL, {"batch": 523, "inputs": 1031, "outputs": 1033}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes, kinds and settings, which depend on the seed only."""

    def work(batch: int, inputs: int, outputs: int) -> float:
        return batch * inputs * outputs + 100 * batch * outputs

    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        sizes = draw_sizes(rng, {"batch": 5000, "inputs": 5000, "outputs": 5000}, work, 5e6)
        kind = str(rng.choice(["random", "random", "not contiguous", "offset"]))
        settings: dict[str, Any] = {
            "activation": str(rng.choice(ACTIVATIONS)),
            "dropout": float(rng.choice([0.0, 0.2, 0.7])),
        }
        name = f"draw {number} of seed {seed}: {', '.join(map(str, [*sizes.values(), *settings.values()]))}, {kind}"
        counts: dict[str, Any] = {
            "seed": int(rng.integers(2**62)),
            "step": int(rng.integers(2**32)),
            "layer": int(rng.integers(9)),
        }
        cases.append(Case(name, **sizes, **settings, **counts, biased=bool(rng.integers(2)), kind=kind))
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the inputs of every pass for a case, which depend on the draw only."""
    rng = generator(case.name, draw)

    def tensor(numbers: np.ndarray) -> torch.Tensor:
        return placed(torch.tensor(numbers).to(dtype).to(device), case.kind)

    scale = scale_of(case.kind, dtype)
    x = scale * rng.standard_normal((case.batch, case.inputs))
    weight = rng.standard_normal((case.inputs, case.outputs)) / math.sqrt(case.inputs)
    bias = scale * rng.standard_normal(case.outputs)
    above = rng.standard_normal((case.batch, case.outputs))
    if case.kind == "zeros":
        x = np.zeros_like(x)
    if case.kind == "nan":
        x[case.batch // 2, 0] = np.nan
    if case.kind == "nan filters":
        weight[1, -1] = np.nan
    if case.kind in ("nan above", "infinite above"):
        above[1, ::2] = np.nan if case.kind == "nan above" else np.inf
    if case.kind == "infinite":
        x[0, 0], x[-1, -1] = np.inf, -np.inf
    if case.kind == "graded":
        x, above, bias = graded(x, dtype), graded(above, dtype), np.zeros(case.outputs)
    return SimpleNamespace(
        x=tensor(x),
        weight=tensor(weight),
        bias=tensor(bias) if case.biased else None,
        grad_output=tensor(above.flat[:1].reshape(())).expand(above.shape)
        if case.kind == "expanded"
        else tensor(above),
    )


def _settings(case: Case) -> dict[str, Any]:
    """Return the arguments of the reference besides its inputs."""
    return {name: getattr(case, name) for name in ("activation", "dropout", "seed", "step", "layer")}


def _dropout(case: Case) -> Dropout:
    return Dropout(case.dropout, case.seed, case.step, case.layer)


def _truth(case: Case, t: SimpleNamespace) -> np.ndarray:
    return reference.dense(array(t.x), array(t.weight), array(t.bias), **_settings(case))


@examined
def dense(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    truth = _truth(case, t)

    def compare(result: torch.Tensor) -> float:
        # The same outputs are dropped. Outputs that underflow in float16, or that a rectifier stops, are 0 as well.
        exact = case.activation != "relu" and dtype != torch.float16 and case.kind != "tiny"
        same = np.array_equal(array(result) == 0, truth == 0) or not exact
        return error(result, truth, each=case.kind == "graded") if same else WRONG

    arguments = t.x, t.weight, t.bias, case.activation, _dropout(case)
    return [Call(arguments, (Output("output", truth, dtype, compare=compare),))]


@examined
def dense_backward(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    output = placed(torch.tensor(_truth(case, t)).to(dtype).to(device), case.kind)
    above, x, weight = array(t.grad_output), array(t.x), array(t.weight)
    truth = _gradients(case, above, x, weight, array(t.bias))
    fixed = t.grad_output, output, t.x, t.weight, case.activation, _dropout(case)
    return gradient_calls(fixed, truth, dtype, case.kind)


def _gradients(
    case: Case, above: np.ndarray, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the gradients of x, weight and bias; dense products leave no choice of where they are NaN."""
    return [(gradient, None) for gradient in reference.dense_backward(above, x, weight, bias, **_settings(case))]


def _loops(case: Case, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Return the outputs by the formulae, one number at a time."""
    e, out = 1e-5, np.zeros((case.batch, case.outputs))
    kept = reference.dropout_factor(out.shape, case.dropout, case.seed, case.step, case.layer)
    for b, o in np.ndindex(*out.shape):
        z = sum(x[b, i] * weight[i, o] for i in range(case.inputs)) + (0.0 if bias is None else bias[o])
        below = {"identity": z, "relu": 0.0, "leaky_relu": 0.01 * z, "mrelu": -e / (z - 1 - e)}[case.activation]
        out[b, o] = kept[b, o] * (z if z >= (e if case.activation == "mrelu" else 0) else below)
    return out


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference, against loops and finite differences."""
    for case in TINY:
        if case.kind not in ("random", "not contiguous"):  # no gradient at a NaN or a kink
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


def _relative(result: np.ndarray, expected: np.ndarray) -> float:
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(result - expected) / (size if size > 0 else 1.0))


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {
    "dense": lambda case: case.inputs + 1,
    "dense_backward": lambda case: max(case.outputs, case.batch),
}
# Back-ends that take a library's products, besides "eager"; see `verify.row`.
LIBRARY = ("cpu",)
