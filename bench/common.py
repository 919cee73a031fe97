"""A contest between versions of one thing, and how it is run: checked, then timed side by side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .timing import Row, Work, rows

GATE = 1e-4  # relative difference from eager PyTorch above which a version is wrong, and not timed
# The same where an argmax decides what a gradient is made of: rounding turns a near-tie, and of 65536 windows one that
# differs moves the gradient by 0.3 %. `partae verify` compares at equal positions, to 1e-5.
GATE_BEHIND_ARGMAX = 1e-2


def relative(found: Any, truth: Any) -> float:
    """Relative root-mean-square difference of tensors or tuples of them, the worst of a tuple."""
    if isinstance(truth, torch.Tensor):
        return float((found.double() - truth.double()).norm() / truth.double().norm())
    return max(relative(f, t) for f, t in zip(found, truth, strict=True))


@dataclass
class Contest:
    """Versions of the same call, by name: ours by back-end, and the peers, of which "eager" comes first."""

    op: str
    ours: dict[str, Callable[[], Any]]
    peers: dict[str, Callable[[], Any]]
    work: Work
    difference: Callable[[Any, Any], float]
    candidate: Callable[[], Any] | None = None
    gate: float = GATE
    prepare: Callable[[Any], Any] = lambda call: call()  # what `difference` compares: the call's result

    def run(self, shapes: dict[str, int], device: str, ceilings: dict[str, float], name: str = "") -> list[Row]:
        """Check every version against the eager peer, then time those that are right."""
        versions = {**self.ours, **({name: self.candidate} if self.candidate else {}), **self.peers}
        truth = self.prepare(next(iter(self.peers.values())))
        errors = {label: self.difference(self.prepare(call), truth) for label, call in versions.items()}
        wrong = {label: error for label, error in errors.items() if not error <= self.gate}
        for label, error in wrong.items():
            print(f"{self.op}, {label}: differs from eager PyTorch by {error:.2g}, above {self.gate:g}; not timed")
        right = {label: call for label, call in versions.items() if label not in wrong}
        return rows(self.op, right, set(self.peers), errors, self.work, ceilings, shapes, device)
