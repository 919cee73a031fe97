"""affinity_loss and its gradient to the embeddings, against the reference."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import torch

from ..reference import affinity as reference
from ..reference.embeddings import unit_vectors
from .cases import draw_sizes, generator, one_large, two_large
from .examination import Call, examined
from .losses import UNEVEN, arrays, embeddings, loss_call, maker, truth_errors


@dataclass(frozen=True)
class Case:
    """A case: the sizes B, P, D and S, and the kind of its numbers."""

    name: str
    batch: int
    points: int
    size: int
    sources: int
    kind: str = "random"
    weighted: bool = False
    variant: str = "squared"
    labels: str = "int64"


def _both(*cases: Case) -> list[Case]:
    return [*cases, *(replace(case, name=f"{case.name}, norm", variant="norm") for case in cases)]


TINY = [
    Case("a pair", 1, 2, 2, 2),
    *_both(
        Case("one number a vector", 2, 15, 1, 2, kind="tiny"),  # else 1 or -1, and no gradient
        Case("one source", 2, 15, 4, 1),
        Case("two sources", 2, 20, 4, 2, weighted=True),
        Case("five sources", 1, 28, 3, 5, labels="int32"),
        Case("primes", 3, 37, 13, 3),
        Case("seventeen numbers a vector", 1, 19, 17, 2, weighted=True),
        Case("a source without points", 2, 12, 4, 3, kind="one label"),
        Case("not contiguous", 2, 21, 6, 2, kind="not contiguous", weighted=True),
        Case("offset in storage", 2, 21, 6, 2, kind="offset", weighted=True),
        Case("embeddings of zeros", 2, 20, 3, 2, kind="silent"),
        Case("small embeddings", 2, 20, 3, 2, kind="small"),
        Case("saturated embeddings", 2, 20, 3, 2, kind="saturated"),
        Case("NaN at one point", 2, 20, 3, 2, kind="nan"),
        Case("an item without weight", 3, 12, 3, 2, kind="no weight", weighted=True),
        Case("labels of one byte", 2, 20, 3, 2, labels="uint8"),
    ),
]

_SMALL = {"batch": 2, "points": 23, "size": 4, "sources": 2}
# Around the sizes of tiles, and the paper's configuration on short mixtures.
LARGER = [
    *(Case(f"{p} points", 2, p, 5, 2) for p in (127, 128, 129, 255, 256, 257, 4095, 4096, 4097)),
    *(Case(f"{d} numbers a vector", 1, 150, d, 2) for d in (8, 15, 16, 20, 31, 32, 33, 63, 64, 65)),
    *(Case(f"{s} sources", 1, 150, 6, s, weighted=True) for s in (4, 7, 8, 9, 16)),
    Case("many items", 67, 12, 5, 2),
    *_both(Case("the paper's", 3, 5140, 10, 2), Case("the paper's, wide", 2, 5140, 40, 2, weighted=True)),
]
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(Case, _SMALL, {"batch": 2003, "points": 40_009, "size": 259, "sources": 67}),
    *two_large(Case, _SMALL, {"batch": 131, "points": 1031, "size": 137, "sources": 37}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and kinds, which depend on the seed only."""

    def work(batch: int, points: int, size: int, sources: int) -> float:
        return batch * (points + size) * max(size + sources, 8) * size

    rng, cases = np.random.default_rng(seed), []
    for number in range(count):
        sizes = draw_sizes(rng, {"batch": 300, "points": 20_000, "size": 150, "sources": 40}, work, 2e6)
        sizes["points"] = max(sizes["points"], 9)  # some points have no weight
        sizes["size"] = max(sizes["size"], 2)  # a vector of one number is 1 or -1 and has no gradient
        kind = str(rng.choice(["random", "not contiguous", "offset"]))
        name = f"draw {number} of seed {seed}: {', '.join(map(str, sizes.values()))}, {kind}"
        settings = {"weighted": bool(rng.integers(2)), "variant": str(rng.choice(["squared", "norm"]))}
        cases.append(Case(name, **sizes, kind=kind, **settings))
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the arguments of a case, which depend on the draw only."""
    rng = generator(case.name, draw)
    tensor = maker(case.kind, dtype, device)
    points = case.batch, case.points
    labels = rng.integers(0, 1 if case.kind == "one label" else case.sources, points)
    weights = rng.random(points)
    weights[:, ::4] = 0.0
    if case.kind == "no weight":
        weights[0] = 0.0
    return SimpleNamespace(
        embeddings=tensor(embeddings(rng, (*points, case.size), case.kind)),
        labels=tensor(labels.astype(case.labels)),
        weights=tensor(weights) if case.weighted else None,
        sources=case.sources,
        variant=case.variant,
    )


@examined
def affinity_loss(case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    truth = reference.affinity_loss(*vars(arrays(t)).values())
    return loss_call(vars(t).values(), dict(zip(("loss", "embeddings"), truth, strict=True)), dtype)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference, over the tiny cases."""
    for case in TINY:
        if case.kind in UNEVEN:
            continue
        a = arrays(tensors(case, torch.float64, torch.device("cpu")))
        fixed = a.labels, a.weights, a.sources, a.variant
        loss, grad = reference.affinity_loss(a.embeddings, *fixed)
        function = lambda e, fixed=fixed: reference.affinity_loss(e, *fixed)[0]  # noqa: E731
        yield from truth_errors(case.name, loss, _by_pairs(a), {"embeddings": (grad, function, a.embeddings)})


def _by_pairs(a: SimpleNamespace) -> float:
    """Return the loss from the (P, P) affinities, which the low-rank form avoids."""
    losses = []
    for b, units in enumerate(unit_vectors(a.embeddings)):
        w = np.ones(len(units)) if a.weights is None else a.weights[b]
        pairs = np.outer(w, w)
        near, same = units @ units.T, a.labels[b][:, None] == a.labels[b][None, :]
        if a.variant == "squared":
            total = pairs.sum()
            losses.append(np.sum(pairs * (near - same) ** 2) / total if total > 0 else 0.0)
        else:
            norms = [np.sqrt(np.sum(pairs * product)) for product in (near**2, near * same, same)]
            losses.append(norms[0] - 2.0 * norms[1] + norms[2])
    return float(np.mean(losses))


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"affinity_loss": lambda case: case.points}


def _cancellation(case: Case) -> float:
    """Return the cancellation in the gradient of the squared form, V V'WV - Y (V'WY)' projected orthogonally to V.

    For embeddings of random direction V'WV is P / D on its diagonal. P / D times V is parallel to V and cancels, but
    the rounding errors of the P / D remain. The result is Y (V'WY)', a random walk over the P / S points of a source,
    sqrt(P / S). The ratio is sqrt(P S) / D.
    """
    return max(1.0, math.sqrt(case.points * case.sources) / case.size) if case.variant == "squared" else 1.0


CANCELLATION = {"affinity_loss": _cancellation}
