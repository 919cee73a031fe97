"""contrastive_loss and its gradients to embeddings and table, against the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from ..reference import contrastive as reference
from ..reference.embeddings import unit_vectors
from .cases import draw_sizes, generator, one_large, two_large
from .examination import Call, examined
from .losses import UNEVEN, arrays, embeddings, loss_call, maker, truth_errors
from .tolerances import points


@dataclass(frozen=True)
class Case:
    """A case: B, T, F, D, S sources in a mixture, R rows of the table, and the kind of its numbers."""

    name: str
    batch: int
    frames: int
    bins: int
    size: int
    sources: int
    rows: int
    kind: str = "random"
    labels: str = "int64"


TINY = [
    # A vector of one number is 1 or -1 and has no gradient, unless it is as small as EPSILON.
    Case("ones", 1, 1, 1, 1, 1, 1, kind="tiny"),
    Case("one number a vector", 2, 3, 5, 1, 2, 4, kind="tiny"),
    Case("one source", 2, 3, 5, 4, 1, 3),
    Case("two sources", 2, 3, 5, 4, 2, 6),
    Case("three sources", 2, 5, 3, 7, 3, 6),
    Case("five sources", 1, 4, 7, 3, 5, 9),
    Case("one frame", 2, 1, 11, 5, 2, 5),
    Case("one bin", 2, 11, 1, 5, 2, 5),
    Case("ten numbers a vector", 1, 3, 11, 10, 2, 4),
    Case("primes", 3, 7, 5, 13, 2, 11),
    Case("sixteen numbers a vector", 1, 5, 3, 16, 2, 3),
    Case("seventeen numbers a vector", 1, 5, 3, 17, 2, 3),
    Case("one row", 3, 3, 5, 4, 2, 1),
    Case("rows that several mixes have", 5, 3, 2, 4, 2, 3),
    Case("many rows", 2, 3, 5, 4, 2, 70),
    Case("not contiguous", 2, 4, 5, 6, 2, 4, kind="not contiguous"),
    Case("offset in storage", 2, 4, 5, 6, 2, 4, kind="offset"),
    Case("long vectors in the table", 2, 4, 5, 6, 2, 4, kind="long table"),
    Case("NaN in the table", 2, 4, 5, 3, 2, 2, kind="nan table"),
    Case("embeddings of zeros", 2, 4, 5, 3, 2, 4, kind="silent"),
    Case("small embeddings", 2, 4, 5, 3, 2, 4, kind="small"),
    Case("saturated embeddings, long vectors", 2, 4, 5, 3, 2, 4, kind="saturated"),
    Case("NaN at one point", 2, 4, 5, 3, 2, 6, kind="nan"),
    Case("labels of one byte", 2, 4, 5, 3, 2, 4, labels="uint8"),
    Case("labels of four bytes", 2, 4, 5, 3, 3, 4, labels="int32"),
]

_SMALL = {"batch": 2, "frames": 3, "bins": 5, "size": 4, "sources": 2, "rows": 5}
# Around the sizes of tiles, and the paper's configuration on short mixtures.
LARGER = [
    *(Case(f"{f} points", 2, 1, f, 5, 2, 4) for f in (15, 16, 17, 127, 128, 129, 255, 256, 257, 4095, 4096, 4097)),
    *(Case(f"{d} numbers a vector", 1, 9, 17, d, 2, 4) for d in (8, 15, 20, 31, 32, 33, 63, 64, 65, 129)),
    *(Case(f"{s} sources", 1, 9, 17, 6, s, 20) for s in (4, 7, 8, 9, 16)),
    Case("many items", 67, 3, 4, 5, 2, 13),
    Case("saturated, many points", 2, 20, 129, 10, 2, 5, kind="saturated"),
    Case("the paper's", 3, 20, 257, 10, 2, 40),
    Case("the paper's, wide", 2, 20, 257, 40, 2, 40),
]
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(Case, _SMALL, {"batch": 2003, "frames": 9001, "bins": 9001, "size": 517, "sources": 67, "rows": 5003}),
    *two_large(Case, _SMALL, {"batch": 131, "frames": 131, "bins": 261, "size": 137, "sources": 37, "rows": 1031}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and kinds, which depend on the seed only."""

    def work(batch: int, frames: int, bins: int, size: int, sources: int, rows: int) -> float:
        return batch * frames * bins * max(size * sources, 8) + rows * size

    rng, cases = np.random.default_rng(seed), []
    largest = {"batch": 300, "frames": 5000, "bins": 5000, "size": 300, "sources": 40, "rows": 3000}
    for number in range(count):
        sizes = draw_sizes(rng, largest, work, 1e6)
        sizes["size"] = max(sizes["size"], 2)  # a vector of one number is 1 or -1 and has no gradient
        kind = str(rng.choice(["random", "not contiguous", "offset", "long table"]))
        cases.append(
            Case(f"draw {number} of seed {seed}: {', '.join(map(str, sizes.values()))}, {kind}", **sizes, kind=kind)
        )
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the arguments of a case, which depend on the draw only."""
    rng = generator(case.name, draw)
    tensor = maker(case.kind, dtype, device)
    points = case.batch, case.frames, case.bins
    table = rng.standard_normal((case.rows, case.size))
    table *= {"saturated": 20.0, "long table": 7.0}.get(case.kind, 1.0)
    if case.kind == "nan table":
        table[1, 0] = np.nan
    return SimpleNamespace(
        embeddings=tensor(embeddings(rng, (*points, case.size), case.kind)),
        table=tensor(table),
        sources=tensor(rng.integers(0, case.rows, (case.batch, case.sources))),
        labels=tensor(rng.integers(0, case.sources, points).astype(case.labels)),
    )


@examined
def contrastive_loss(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    truth = reference.contrastive_loss(*vars(arrays(t)).values())
    return loss_call(vars(t).values(), dict(zip(("loss", "embeddings", "table"), truth, strict=True)), dtype)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference, over the tiny cases."""
    for case in TINY:
        if case.kind in UNEVEN:
            continue
        a = arrays(tensors(case, torch.float64, torch.device("cpu")))
        fixed = a.sources, a.labels
        loss, grad_embeddings, grad_table = reference.contrastive_loss(a.embeddings, a.table, *fixed)
        gradients = {
            "embeddings": (
                *(grad_embeddings, lambda e, a=a, fixed=fixed: reference.contrastive_loss(e, a.table, *fixed)[0]),
                a.embeddings,
            ),
            "table": (
                *(grad_table, lambda u, a=a, fixed=fixed: reference.contrastive_loss(a.embeddings, u, *fixed)[0]),
                a.table,
            ),
        }
        yield from truth_errors(case.name, loss, _by_loops(a), gradients)


def _by_loops(a: SimpleNamespace) -> float:
    """Return the loss by the formula, one number at a time."""
    total, units = 0.0, unit_vectors(a.embeddings)
    for b, t, f in np.ndindex(a.labels.shape):
        for s, row in enumerate(a.sources[b]):
            y = 1.0 if a.labels[b, t, f] == s else -1.0
            total -= np.log(1.0 / (1.0 + np.exp(-y * units[b, t, f] @ a.table[row])))
    return total / (a.labels.size * a.sources.shape[1])


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"contrastive_loss": lambda case: points(case) * case.sources}
