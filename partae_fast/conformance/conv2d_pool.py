"""conv2d_pool and its gradients, against the reference; and the cases of both convolutions of maps."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..reference import conv2d_pool as reference
from . import truth
from .cases import WRONG, array, error, strided, twice


@dataclass(frozen=True)
class Case:
    """One input: a map, its filters, the factors that it is pooled or up-sampled by, what is special about it."""

    name: str
    batch: int
    frames: int
    bins: int
    channels: int
    filters: int
    factors: tuple[int, int] = (1, 1)
    relu: bool = True
    kind: str = "random"


TINY = [
    Case("ones", 1, 1, 1, 1, 1),
    Case("one place, many channels", 2, 1, 1, 5, 3),
    Case("no factors", 2, 5, 7, 3, 4),
    Case("frames by three, bins by five", 2, 6, 10, 2, 3, (3, 5)),
    Case("bins by five", 2, 3, 10, 4, 3, (1, 5)),
    Case("frames alone", 2, 8, 3, 2, 3, (4, 1)),
    Case("by two", 2, 4, 6, 3, 5, (2, 2)),
    Case("short last windows", 2, 7, 11, 3, 4, (3, 4)),
    Case("factors larger than the map", 1, 2, 3, 2, 3, (4, 5)),
    Case("one frame", 2, 1, 9, 3, 2, (1, 2)),
    Case("one bin", 2, 9, 1, 3, 2, (2, 1)),
    Case("one channel", 2, 5, 19, 1, 4, (1, 3)),
    Case("one filter", 2, 5, 19, 4, 1, (1, 3)),
    Case("one channel and filter", 2, 5, 18, 1, 1),
    Case("not contiguous", 2, 5, 6, 3, 4, (2, 3), kind="not contiguous"),
    Case("nothing positive", 2, 6, 6, 2, 3, (3, 2), kind="negative"),
    Case("exact ties", 2, 6, 9, 2, 3, (2, 3), kind="ties"),
    Case("NaN at one place", 1, 6, 9, 2, 3, (2, 3), kind="nan"),
    Case("no rectifier", 2, 5, 7, 3, 4, (2, 3), relu=False),
    Case("no rectifier, no factors", 2, 5, 7, 3, 4, relu=False),
    Case("no rectifier, nothing positive", 2, 6, 6, 2, 3, (3, 2), relu=False, kind="negative"),
    Case("no rectifier, exact ties", 2, 6, 9, 2, 3, (2, 3), relu=False, kind="ties"),
]

# Around the sizes that kernels cut their work by, and the layers of the paper.
LARGER = [
    *(Case(f"{d} filters", 1, 4, 12, 5, d, (2, 3)) for d in (7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65)),
    *(Case(f"{c} channels", 1, 4, 12, c, 5, (2, 3)) for c in (8, 15, 16, 17, 33, 65)),
    *(Case(f"{h} bins, no factors", 2, 3, h, 3, 4) for h in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129)),
    *(Case(f"{h} bins, one channel", 1, 4, h, 1, 12, (2, 3)) for h in (16, 17, 64, 65, 130)),
    *(Case(f"{h} bins, one filter", 2, 4, h, 12, 1) for h in (16, 17, 64, 65, 130)),
    Case("many frames", 1, 67, 6, 4, 6, (3, 1)),
    Case("many items", 37, 3, 4, 3, 4, (1, 2)),
    Case("long windows", 1, 40, 50, 2, 5, (19, 23)),
    Case("the paper's first layer", 3, 15, 1025, 1, 12, (3, 5)),
    Case("the paper's second layer", 3, 5, 205, 12, 20, (1, 5)),
    Case("the paper's fourth layer", 3, 5, 41, 30, 40),
    Case("the paper's sixth layer", 3, 5, 41, 30, 20, (1, 5)),
    Case("the paper's seventh layer", 2, 5, 205, 20, 12, (3, 5)),
    Case("the paper's last layer", 2, 15, 1025, 12, 1),
]


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> SimpleNamespace:
    """x, weight and bias for a case, the same on each call; and `draw`, for gradients that come from above."""
    rng = np.random.default_rng(sum(case.name.encode()))

    def tensor(numbers: np.ndarray) -> torch.Tensor:
        made = torch.tensor(numbers).to(dtype).to(device)
        return strided(made) if case.kind == "not contiguous" and made.dim() > 1 else made

    x = rng.random((case.batch, case.frames, case.bins, case.channels))
    weight = rng.standard_normal((3, 3, case.channels, case.filters)) / math.sqrt(9 * case.channels)
    bias = 0.2 * rng.standard_normal(case.filters)
    if case.kind == "negative":
        weight, bias = -np.abs(weight), -np.abs(bias)
    if case.kind == "ties":  # few small integers: sums are exact and equal ones abound
        x, weight = rng.integers(0, 2, x.shape), rng.integers(-1, 2, weight.shape)
        bias = rng.integers(-1, 2, bias.shape)
    if case.kind == "nan":
        x[0, case.frames // 2, case.bins // 2, 0] = np.nan
    return SimpleNamespace(
        x=tensor(x),
        weight=tensor(weight),
        bias=tensor(bias),
        draw=lambda shape: tensor(rng.standard_normal(shape)),
    )


def _truth(case: Case, t: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    return reference.conv2d_pool(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)


def conv2d_pool(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    t = tensors(case, dtype, device)
    run = lambda: implementation.conv2d_pool(t.x, t.weight, t.bias, case.factors, case.relu)  # noqa: E731
    (values, positions), bits = twice(run)
    truth, expected = _truth(case, t)
    wanted = (0,) if case.factors == (1, 1) else truth.shape
    if values.dtype != dtype or positions.dtype != torch.int32 or positions.shape != wanted:
        return {"types": WRONG}
    return {
        "values": error(values, truth),
        "positions": _misplacement(case, t, positions, truth, expected, tolerance) if positions.numel() else 0.0,
        "bits": bits,
    }


def _misplacement(
    case: Case,
    t: SimpleNamespace,
    positions: torch.Tensor,
    truth: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
) -> float:
    """0 where every position is one whose activation is the window's maximum, or nearer to it than the tolerance."""
    found = array(positions)
    inside = reference.windowed(
        reference.activations(array(t.x), array(t.weight), array(t.bias), case.relu), case.factors
    )
    if (found < 0).any() or (found >= inside.shape[3]).any():
        return WRONG
    chosen = np.take_along_axis(inside, found[:, :, :, None].astype(np.int64), axis=3)[:, :, :, 0]
    defined = ~np.isnan(truth)
    scale = np.sqrt(np.mean(truth[defined] ** 2)) if defined.any() else 0.0
    near = np.abs(chosen - truth) <= tolerance * scale  # beyond the map chosen is -inf, and far
    # Sums of small integers are exact in every type, so that a tie must go to the first, and so must silence.
    exact = case.kind == "ties" or (case.kind == "negative" and case.relu)
    right = (found == expected) | (near & (not exact))
    return 0.0 if right[defined].all() else WRONG


def conv2d_pool_backward(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    if case.kind == "nan":
        return {}
    t = tensors(case, dtype, device)
    values, positions = _truth(case, t)
    grad_values, held = t.draw(values.shape), torch.tensor(values).to(dtype).to(device)
    truth = reference.conv2d_pool_backward(
        array(grad_values), array(t.x), array(t.weight), array(held), positions, case.factors, case.relu
    )
    places = torch.tensor(positions if case.factors != (1, 1) else np.zeros(0, np.int32)).to(device)
    return gradient_errors(
        lambda *needed: implementation.conv2d_pool_backward(
            grad_values, t.x, t.weight, held, places, case.factors, case.relu, *needed
        ),
        truth,
    )


def gradient_errors(run: Callable[..., tuple], truth: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Errors of the gradients that run(need_x, need_w, need_bias) returns: all at once, and each alone."""
    names = ("x", "weight", "bias")
    found, bits = twice(lambda: run(True, True, True))
    errors = {name: error(got, wanted) for name, got, wanted in zip(names, found, truth, strict=True)}
    for alone, name in enumerate(names):
        got = run(*(i == alone for i in range(3)))
        errors[f"{name} alone"] = error(got[alone], truth[alone])
        if any(other is not None for i, other in enumerate(got) if i != alone):
            errors["unwanted"] = WRONG
    return {**errors, "bits": bits}


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """(case, quantity, relative error) of the reference: values against loops, gradients against differences."""
    for case in TINY:
        if case.kind in ("nan", "ties"):  # a difference across a tie or a NaN has no gradient to agree with
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        given = array(t.x), array(t.weight), array(t.bias)
        values, positions = reference.conv2d_pool(*given, case.factors, case.relu)
        if op_pass == "conv2d_pool":
            yield case.name, "values", error(torch.tensor(values), _loops(*given, case))
            continue
        g = array(t.draw(values.shape))
        found = reference.conv2d_pool_backward(g, *given[:2], values, positions, case.factors, case.relu)
        rest = case.factors, case.relu
        yield from against_differences(
            case.name, found, given, lambda *a, g=g, rest=rest: np.sum(g * reference.conv2d_pool(*a, *rest)[0])
        )


def against_differences(
    name: str, found: tuple[np.ndarray, ...], given: tuple[np.ndarray, ...], total: Callable[..., float]
) -> Iterator[tuple[str, str, float]]:
    """(case, quantity, error) of gradients of total(x, weight, bias)."""
    for i, quantity in enumerate(("x", "weight", "bias")):
        wanted = truth.differences(lambda at, i=i: total(*given[:i], at, *given[i + 1 :]), given[i])
        size = np.linalg.norm(wanted)
        yield name, quantity, float(np.linalg.norm(found[i] - wanted) / (size if size > 0 else 1.0))


def loops_convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    """Activations by the formula, one number at a time."""
    batch, frames, bins, _ = x.shape
    a = np.empty((batch, frames, bins, len(bias)))
    for b, n, h, d in np.ndindex(a.shape):
        z = bias[d]
        for i, j, c in np.ndindex(weight.shape[:3]):
            if 0 <= n + i - 1 < frames and 0 <= h + j - 1 < bins:
                z += weight[i, j, c, d] * x[b, n + i - 1, h + j - 1, c]
        a[b, n, h, d] = max(z, 0.0) if relu else z
    return a


def _loops(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, case: Case) -> np.ndarray:
    a, (p, q) = loops_convolve(x, weight, bias, case.relu), case.factors
    batch, frames, bins, filters = a.shape
    values = np.full((batch, -(-frames // p), -(-bins // q), filters), -np.inf)
    for b, n, h, d in np.ndindex(a.shape):
        values[b, n // p, h // q, d] = max(values[b, n // p, h // q, d], a[b, n, h, d])
    return values
