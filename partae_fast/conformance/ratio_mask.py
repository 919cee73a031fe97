"""ratio_mask_loss and its gradient to the logits, against the reference."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from ..reference import ratio_mask as reference
from .losses import UNEVEN, arrays, compared, maker, truth_errors


@dataclass(frozen=True)
class Case:
    """One input: B, T, F and S, and what is special about it."""

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
    Case("NaN at one point", 2, 4, 5, 2, kind="nan"),
    Case("NaN at one point, three sources", 2, 4, 5, 3, kind="nan"),
]

# Around the sizes that kernels cut their work by, and the paper's configuration on short mixes.
LARGER = [
    *(Case(f"{f} points", 2, 1, f, 2) for f in (31, 32, 33, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025)),
    *(Case(f"{f} points, three sources", 2, 1, f, 3) for f in (31, 32, 33, 255, 256, 257, 4095, 4096, 4097)),
    *(Case(f"{s} sources", 1, 9, 17, s) for s in (6, 7, 9, 15, 16, 17, 33)),
    Case("the paper's", 3, 20, 257, 2),
    Case("the paper's, three sources", 3, 20, 257, 3),
]


def tensors(case: Case, dtype: torch.dtype, device: torch.device) -> SimpleNamespace:
    """The arguments for a case, the same on each call."""
    rng = np.random.default_rng(sum(case.name.encode()))
    tensor = maker(case.kind, dtype, device)
    points = case.batch, case.frames, case.bins
    logits = rng.standard_normal((*points, case.sources)) * (30.0 if case.kind == "saturated" else 1.0)
    mixture = rng.random(points)
    if case.kind == "silent":
        mixture[0] = 0.0
    if case.kind == "nan":
        logits[0, case.frames // 2, case.bins // 2, 1] = np.nan
    return SimpleNamespace(
        logits=tensor(logits), mixture=tensor(mixture), sources=tensor(rng.random((*points, case.sources)))
    )


def ratio_mask_loss(
    case: Case, implementation: Any, dtype: torch.dtype, device: torch.device, tolerance: float
) -> dict[str, float]:
    t = tensors(case, dtype, device)
    run = lambda: implementation.ratio_mask_loss(t.logits, t.mixture, t.sources)  # noqa: E731
    truth = reference.ratio_mask_loss(*vars(arrays(t)).values())
    return compared(run, dict(zip(("loss", "logits"), truth, strict=True)), dtype)


def reference_errors(op_pass: str) -> Iterator[tuple[str, str, float]]:
    """(case, quantity, relative error) of the reference, over the tiny cases."""
    for case in TINY:
        if case.kind in UNEVEN:
            continue
        a = arrays(tensors(case, torch.float64, torch.device("cpu")))
        loss, grad = reference.ratio_mask_loss(a.logits, a.mixture, a.sources)
        function = lambda z, a=a: reference.ratio_mask_loss(z, a.mixture, a.sources)[0]  # noqa: E731
        yield from truth_errors(case.name, loss, _by_loops(a), {"logits": (grad, function, a.logits)})


def _by_loops(a: SimpleNamespace) -> float:
    """The formula, one number at a time."""
    total = 0.0
    for b, t, f, s in np.ndindex(a.logits.shape):
        mask = 1.0 / np.exp(a.logits[b, t, f] - a.logits[b, t, f, s]).sum()
        total += (a.sources[b, t, f, s] - mask * a.mixture[b, t, f]) ** 2
    return total / a.logits.size
