"""conv2d_pool and its gradients, against the reference, and the cases of both convolutions of maps."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..reference import conv2d_pool as reference
from . import truth
from .cases import draw_sizes, generator, graded, one_large, placed, scale_of, two_large
from .comparison import WRONG, Output, array, error
from .examination import Call, examined


@dataclass(frozen=True)
class Case:
    """The shapes of a map and its filters, and the factors of the pool or the up-sampling.

    `kind` is the property of its numbers, as in `cases.Case`.
    """

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
    Case("NaN at one place, no rectifier", 2, 6, 9, 2, 3, (2, 3), kind="nan", relu=False),
    Case("NaN at one place, no factors", 2, 4, 5, 2, 3, kind="nan"),
    Case("NaN in one filter", 2, 4, 5, 2, 3, (2, 1), kind="nan filters"),
    Case("NaN from above", 2, 5, 6, 2, 3, (2, 3), kind="nan above"),
    Case("NaN from above, no factors", 2, 5, 4, 2, 3, kind="nan above"),
    Case("infinite", 2, 5, 7, 2, 3, (2, 3), kind="infinite"),
    Case("infinite from above", 2, 5, 6, 2, 3, (2, 3), kind="infinite above"),
    Case("both signs", 2, 5, 7, 3, 4, (2, 2), kind="signed"),
    Case("tiny numbers", 2, 5, 7, 3, 4, (2, 2), kind="tiny"),
    Case("huge numbers", 2, 5, 7, 3, 4, (2, 2), kind="huge"),
    Case("items of many scales", 5, 5, 7, 3, 4, (2, 2), kind="graded"),
    Case("offset in storage", 2, 5, 7, 3, 4, (2, 3), kind="offset"),
    Case("one number from above", 2, 5, 7, 3, 4, (2, 3), kind="expanded"),
    Case("no rectifier", 2, 5, 7, 3, 4, (2, 3), relu=False),
    Case("no rectifier, no factors", 2, 5, 7, 3, 4, relu=False),
    Case("no rectifier, nothing positive", 2, 6, 6, 2, 3, (3, 2), relu=False, kind="negative"),
    Case("no rectifier, exact ties", 2, 6, 9, 2, 3, (2, 3), relu=False, kind="ties"),
]

_SMALL = {"batch": 2, "frames": 5, "bins": 7, "channels": 3, "filters": 4}
REPEATED = "short last windows"


def _pooled(name: str, **sizes: Any) -> Case:
    return Case(name, **sizes, factors=(2, 3))


# Around the sizes of tiles, and the layers of the paper.
LARGER = [
    *(Case(f"{d} filters", 1, 4, 12, 5, d, (2, 3)) for d in (7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 65)),
    *(Case(f"{c} channels", 1, 4, 12, c, 5, (2, 3)) for c in (8, 15, 16, 17, 33, 65)),
    *(Case(f"{h} bins, no factors", 2, 3, h, 3, 4) for h in (15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129)),
    *(Case(f"{h} bins, one channel", 1, 4, h, 1, 12, (2, 3)) for h in (16, 17, 64, 65, 130)),
    *(Case(f"{h} bins, one filter", 2, 4, h, 12, 1) for h in (16, 17, 64, 65, 130)),
    Case("NaN at one place, 20 filters", 2, 6, 9, 12, 20, (2, 3), kind="nan"),
    Case("exact ties, 20 filters", 2, 6, 9, 12, 20, (2, 3), kind="ties"),
    Case("nothing positive, 20 filters", 2, 6, 9, 12, 20, (2, 3), kind="negative"),
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
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(_pooled, _SMALL, {"batch": 523, "frames": 2003, "bins": 4099, "channels": 259, "filters": 263}),
    *two_large(_pooled, _SMALL, {"batch": 67, "frames": 131, "bins": 259, "channels": 67, "filters": 133}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes, kinds and settings, which depend on the seed only."""

    def work(batch: int, frames: int, bins: int, channels: int, filters: int) -> float:
        return batch * frames * bins * (9 * channels * filters + 20 * channels)

    rng, cases = np.random.default_rng(seed), []
    largest = {"batch": 200, "frames": 700, "bins": 3000, "channels": 150, "filters": 150}
    for number in range(count):
        sizes = draw_sizes(rng, largest, work, 1e7)
        # Not "expanded": the sum of very many equal numbers in a library always rounds in the same direction.
        kind = str(rng.choice(["random", "random", "signed", "not contiguous", "offset"]))
        factors = int(rng.integers(1, 5)), int(rng.integers(1, 7))
        name = f"draw {number} of seed {seed}: {', '.join(map(str, sizes.values()))}, {factors}, {kind}"
        cases.append(Case(name, **sizes, factors=factors, relu=bool(rng.integers(2)), kind=kind))
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return x, weight and bias of a case, and `above(shape)`, which draws incoming gradients."""
    rng = generator(case.name, draw)

    def tensor(numbers: np.ndarray) -> torch.Tensor:
        return placed(torch.tensor(numbers).to(dtype).to(device), case.kind)

    def above(shape: tuple[int, ...]) -> torch.Tensor:
        numbers = rng.standard_normal(shape)
        if case.kind in ("nan above", "infinite above"):
            numbers[0, shape[1] // 2, shape[2] // 2, -1] = np.nan if case.kind == "nan above" else np.inf
        if case.kind == "expanded":
            return tensor(numbers.flat[:1].reshape(())).expand(shape)
        return tensor(graded(numbers, dtype) if case.kind == "graded" else numbers)

    x = 4.0 * rng.random((case.batch, case.frames, case.bins, case.channels))
    weight = rng.standard_normal((3, 3, case.channels, case.filters)) / math.sqrt(9 * case.channels)
    bias = 0.2 * rng.standard_normal(case.filters)
    if case.kind == "signed":
        x = 5.0 * rng.standard_normal(x.shape)
    if case.kind == "negative":
        weight, bias = -np.abs(weight), -np.abs(bias)
    if case.kind == "ties":  # few small integers: sums are exact, and many are equal
        x, weight = rng.integers(0, 2, x.shape), rng.integers(-1, 2, weight.shape)
        bias = rng.integers(-1, 2, bias.shape)
    if case.kind == "nan":
        x[0, case.frames // 2, case.bins // 2, 0] = np.nan
    if case.kind == "nan filters":
        weight[1, 1, -1, 1] = np.nan  # the tap that is inside the map at every position of the filter
    if case.kind == "infinite":
        x[0, 1, 1, 0], x[-1, -1, -1, -1] = np.inf, -np.inf
    if case.kind == "graded":
        x, bias = graded(x, dtype), np.zeros(case.filters)
    scale = scale_of(case.kind, dtype)
    return SimpleNamespace(x=tensor(scale * x), weight=tensor(weight), bias=tensor(scale * bias), above=above)


def _truth(case: Case, t: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    return reference.conv2d_pool(array(t.x), array(t.weight), array(t.bias), case.factors, case.relu)


@examined
def conv2d_pool(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    values, expected = _truth(case, t)
    inside = reference.windowed(
        reference.activations(array(t.x), array(t.weight), array(t.bias), case.relu), case.factors
    )
    places = expected if case.factors != (1, 1) else np.zeros(0, np.int32)
    outputs = (
        Output("values", values, dtype, each=case.kind == "graded"),
        Output(
            "positions",
            places,
            torch.int32,
            compare=lambda result: _misplacement(case, result, inside, values, expected, tolerance),
        ),
    )
    return [Call((t.x, t.weight, t.bias, case.factors, case.relu), outputs)]


def _misplacement(
    case: Case,
    result: torch.Tensor,
    inside: np.ndarray,
    values: np.ndarray,
    expected: np.ndarray,
    tolerance: float,
) -> float:
    """Return 0 if the activation at every position is the maximum of its window, to within the tolerance.

    In a window with a NaN the position must be that of a NaN.
    """
    positions = array(result)
    if not positions.size:
        return 0.0
    if (positions < 0).any() or (positions >= inside.shape[3]).any():
        return WRONG
    chosen = np.take_along_axis(inside, positions[:, :, :, None].astype(np.int64), axis=3)[:, :, :, 0]
    if not np.array_equal(np.isnan(chosen), np.isnan(values)):
        return WRONG
    defined = np.isfinite(values)
    if not (chosen == values)[np.isinf(values)].all():
        return WRONG
    axes = (1, 2, 3) if case.kind == "graded" else None
    scale = np.sqrt(np.mean(np.where(defined, values, 0.0) ** 2, axis=axes, keepdims=True))
    # Beyond the map `chosen` is -inf, and so far from the maximum.
    near = np.abs(np.where(defined, chosen - values, 0.0)) <= tolerance * scale
    # Sums of small integers are exact in every type: the first of equal maxima must win, also in a window of zeros.
    exact = case.kind == "ties" or (case.kind == "negative" and case.relu)
    right = (positions == expected) | (near & (not exact))
    return 0.0 if right[defined].all() else WRONG


@examined
def conv2d_pool_backward(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    values, positions = _truth(case, t)
    grad_values, values_in = t.above(values.shape), placed(torch.tensor(values).to(dtype).to(device), case.kind)
    places = positions if case.factors != (1, 1) else np.zeros(0, np.int32)
    places = placed(torch.tensor(places).to(device), case.kind if places.size else "random")

    def gradients(
        above: np.ndarray, x: np.ndarray, weight: np.ndarray, values_in: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        return reference.conv2d_pool_backward(above, x, weight, values_in, positions, case.factors, case.relu)

    truth = with_nan(gradients, array(grad_values), array(t.x), array(t.weight), array(values_in), case.relu)
    fixed = grad_values, t.x, t.weight, values_in, places, case.factors, case.relu
    return gradient_calls(fixed, truth, dtype, case.kind)


def with_nan(
    gradients: Callable[..., tuple[np.ndarray, ...]],
    above: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    values_in: np.ndarray,
    relu: bool,
) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """Return the gradients of x, weight and bias, each with a mask of elements that may be NaN although they need not.

    A NaN, or infinity, spreads to the products with a gradient that is not 0. Its products with a gradient that pool or
    rectifier made 0 are NaN in dense arithmetic and skipped in sparse arithmetic. A NaN value passes its gradient.
    """
    dense = gradients(above, x, weight, values_in)
    if all(np.isfinite(part).all() for part in (above, x, weight)):
        return [(gradient, None) for gradient in dense]
    passing = np.where(np.isnan(values_in), 1.0, values_in)
    clean = gradients(*(np.where(np.isfinite(part), part, 0.0) for part in (above, x, weight)), passing)
    bad_above, bad_x, bad_weight = ((~np.isfinite(part)).astype(float) for part in (above, x, weight))
    some = (above != 0).astype(float)
    from_above = gradients(bad_above, np.ones_like(x), np.ones_like(weight), passing)
    from_weight = gradients(some, np.ones_like(x), bad_weight, passing)
    from_x = gradients(some, bad_x, np.ones_like(weight), passing)
    reached = from_above[0] + from_weight[0] > 0, from_above[1] + from_x[1] > 0, from_above[2] > 0
    return [(np.where(r, np.nan, c), ~np.isfinite(d) & ~r) for d, c, r in zip(dense, clean, reached, strict=True)]


def gradient_calls(
    fixed: tuple, truth: list[tuple[np.ndarray, np.ndarray | None]], dtype: torch.dtype, kind: str
) -> list[Call]:
    """Return calls for all three gradients, for each alone, and for each pair."""
    names = ("x", "weight", "bias")
    requests = [(True, True, True), *(tuple(i == j for i in range(3)) for j in range(3))]
    requests += [tuple(i != j for i in range(3)) for j in range(3)]
    calls = []
    for needs in requests:
        outputs = tuple(
            Output(
                name,
                number if need else None,
                dtype,
                free,
                each=kind == "graded" and name == "x",
                endless=kind.startswith("infinite"),
            )
            for name, (number, free), need in zip(names, truth, needs, strict=True)
        )
        title = "" if all(needs) else f"{' and '.join(n for n, need in zip(names, needs, strict=True) if need)} alone: "
        calls.append(Call((*fixed, *needs), outputs, {}, title))
    return calls


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference: values against loops, gradients against differences."""
    for case in TINY:
        if case.kind not in (
            "random",
            "not contiguous",
            "negative",
            "signed",
        ):  # finite differences across a tie or a NaN are no gradient
            continue
        t = tensors(case, torch.float64, torch.device("cpu"))
        arguments = array(t.x), array(t.weight), array(t.bias)
        values, positions = reference.conv2d_pool(*arguments, case.factors, case.relu)
        if op_pass == "conv2d_pool":
            yield case.name, "values", error(torch.tensor(values), _loops(*arguments, case))
            continue
        g = array(t.above(values.shape))
        gradients = reference.conv2d_pool_backward(g, *arguments[:2], values, positions, case.factors, case.relu)
        rest = case.factors, case.relu
        yield from against_differences(
            case.name, gradients, arguments, lambda *a, g=g, rest=rest: np.sum(g * reference.conv2d_pool(*a, *rest)[0])
        )


def against_differences(
    name: str, gradients: tuple[np.ndarray, ...], arguments: tuple[np.ndarray, ...], total: Callable[..., float]
) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, error) of the gradients of total(x, weight, bias)."""
    for i, quantity in enumerate(("x", "weight", "bias")):
        expected = truth.differences(lambda at, i=i: total(*arguments[:i], at, *arguments[i + 1 :]), arguments[i])
        size = np.linalg.norm(expected)
        yield name, quantity, float(np.linalg.norm(gradients[i] - expected) / (size if size > 0 else 1.0))


def loops_convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, relu: bool) -> np.ndarray:
    """Return the activations by the formula, one number at a time."""
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


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {
    "conv2d_pool": lambda case: 9 * case.channels + 1,
    "conv2d_pool_backward": lambda case: max(9 * case.filters, _windows(case)),
}


def _windows(case: Case) -> int:
    return case.batch * -(-case.frames // case.factors[0]) * -(-case.bins // case.factors[1])
