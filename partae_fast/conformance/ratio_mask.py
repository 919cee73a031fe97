"""ratio_mask_loss and its gradient to the logits, against the reference."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import torch

from ..reference import ratio_mask as reference
from .cases import draw_sizes, generator, one_large, two_large
from .examination import Call, examined
from .losses import UNEVEN, arrays, loss_call, maker, truth_errors
from .tolerances import points


@dataclass(frozen=True)
class Case:
    """A case: the sizes B, T, F and S, and the kind of its numbers."""

    name: str
    batch: int
    frames: int
    bins: int
    sources: int
    kind: str = "random"


TINY = [
    Case("two sources, one point", 1, 1, 1, 2),
    Case("two sources", 2, 3, 5, 2),
    Case("three sources", 2, 3, 5, 3),
    Case("four sources", 2, 3, 5, 4),
    Case("five sources", 1, 4, 7, 5),
    Case("eight sources", 1, 4, 3, 8),
    Case("eleven sources", 1, 2, 3, 11),
    Case("one frame", 2, 1, 11, 2),
    Case("one bin", 2, 11, 1, 2),
    Case("primes", 3, 7, 5, 2),
    Case("primes, three sources", 3, 7, 5, 3),
    Case("many items", 13, 1, 2, 2),
    Case("sixteen bins", 1, 2, 16, 2),
    Case("seventeen bins", 1, 2, 17, 2),
    Case("not contiguous", 2, 4, 5, 2, kind="not contiguous"),
    Case("not contiguous, three sources", 2, 4, 5, 3, kind="not contiguous"),
    Case("a silent mixture", 2, 4, 5, 2, kind="silent"),
    Case("certain masks", 2, 4, 5, 2, kind="saturated"),
    Case("certain masks, three sources", 2, 4, 5, 3, kind="saturated"),
    Case("offset in storage", 2, 4, 5, 2, kind="offset"),
    Case("offset in storage, three sources", 2, 4, 5, 3, kind="offset"),
    Case("tiny numbers", 2, 4, 5, 2, kind="tiny"),
    Case("huge numbers, three sources", 2, 4, 5, 3, kind="huge"),
    Case("NaN at one point", 2, 4, 5, 2, kind="nan"),
    Case("NaN in a source", 2, 4, 5, 2, kind="nan source"),
    Case("NaN at one point, three sources", 2, 4, 5, 3, kind="nan"),
]

_SMALL = {"batch": 2, "frames": 3, "bins": 5, "sources": 2}
# Around the sizes of tiles, and the paper's configuration on short mixtures.
LARGER = [
    *(Case(f"{f} points", 2, 1, f, 2) for f in (31, 32, 33, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025)),
    *(Case(f"{f} points, three sources", 2, 1, f, 3) for f in (31, 32, 33, 255, 256, 257, 4095, 4096, 4097)),
    *(Case(f"{s} sources", 1, 9, 17, s) for s in (6, 7, 9, 15, 16, 17, 33)),
    Case("the paper's", 3, 20, 257, 2),
    Case("the paper's, three sources", 3, 20, 257, 3),
]
# Far beyond the tiles of every back-end.
BEYOND = [
    *one_large(Case, _SMALL, {"batch": 5003, "frames": 5003, "bins": 5003, "sources": 131}),
    *two_large(Case, _SMALL, {"batch": 131, "frames": 257, "bins": 521, "sources": 37}),
]


def random_cases(seed: int, count: int) -> list[Case]:
    """Return cases of random sizes and kinds, which depend on the seed only."""
    rng, cases = np.random.default_rng(seed), []
    largest = {"batch": 1000, "frames": 5000, "bins": 5000, "sources": 70}
    for number in range(count):
        sizes = draw_sizes(rng, largest, lambda batch, frames, bins, sources: batch * frames * bins * sources, 5e5)
        sizes["sources"] = max(sizes["sources"], 2)
        kind = str(rng.choice(["random", "not contiguous", "offset", "saturated"]))
        cases.append(
            Case(f"draw {number} of seed {seed}: {', '.join(map(str, sizes.values()))}, {kind}", **sizes, kind=kind)
        )
    return cases


def tensors(case: Case, dtype: torch.dtype, device: torch.device, draw: int = 0) -> SimpleNamespace:
    """Return the arguments of a case, which depend on the draw only."""
    rng, tensor = generator(case.name, draw), maker(case.kind, dtype, device)
    points = case.batch, case.frames, case.bins
    scale = {"tiny": 1e-15, "huge": 1e15}.get(case.kind, 1.0)  # the square of an error stays within the type's range
    logits = rng.standard_normal((*points, case.sources)) * (30.0 if case.kind == "saturated" else 1.0)
    mixture, sources = 4.0 * scale * rng.random(points), 3.0 * scale * rng.random((*points, case.sources))
    if case.kind == "silent":
        mixture[0] = 0.0
    if case.kind == "nan":
        logits[0, case.frames // 2, case.bins // 2, 1] = np.nan
    if case.kind == "nan source":
        sources[-1, case.frames // 2, case.bins // 2, 0] = np.nan
    return SimpleNamespace(logits=tensor(logits), mixture=tensor(mixture), sources=tensor(sources))


@examined
def ratio_mask_loss(
    case: Case, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int
) -> Sequence[Call]:
    t = tensors(case, dtype, device, draw)
    loss, grad_logits = reference.ratio_mask_loss(*vars(arrays(t)).values())
    return loss_call(vars(t).values(), {"loss": loss, "logits": grad_logits}, dtype)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """Yield (case, quantity, relative error) of the reference, over the tiny cases."""
    for case in TINY:
        if case.kind in UNEVEN:
            continue
        a = arrays(tensors(case, torch.float64, torch.device("cpu")))
        loss, grad = reference.ratio_mask_loss(a.logits, a.mixture, a.sources)
        function = lambda z, a=a: reference.ratio_mask_loss(z, a.mixture, a.sources)[0]  # noqa: E731
        yield from truth_errors(case.name, loss, _by_loops(a), {"logits": (grad, function, a.logits)})


def _by_loops(a: SimpleNamespace) -> float:
    """Return the loss by the formula, one number at a time."""
    total = 0.0
    for b, t, f, s in np.ndindex(a.logits.shape):
        mask = 1.0 / np.exp(a.logits[b, t, f] - a.logits[b, t, f, s]).sum()
        total += (a.sources[b, t, f, s] - mask * a.mixture[b, t, f]) ** 2
    return total / a.logits.size


# Terms in the longest sum of each pass; see `tolerances`.
LONGEST_SUM = {"ratio_mask_loss": lambda case: points(case) * case.sources}
