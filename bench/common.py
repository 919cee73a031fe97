"""A contest between versions of one thing: every result is checked, the right versions are timed, and checked again.

The truth is eager PyTorch in float64, computed from copies of the inputs. Where a gradient depends on what a version
chose in its forward pass (the frame of a maximum, which side of a kink), the truth is computed at that choice.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from .timing import Row, Work, measure, rows

# Relative root-mean-square error of what we sum ourselves, in blocks and in a fixed order, as in `partae verify`.
GATE = 1e-5
# What the rounding of operands to TF32 allows besides: 11 bits, as in `partae verify`.
TYPE_GATES = {"float32": 0.0, "tf32": 1e-3}
UNIT = 2.0**-24  # how far float32 rounds, relative to the number
# Largest relative difference of the losses of a model's first 10 steps. A near-tie of two frames that rounding turns
# moves the gradient of a step by about 0.3 %, whose effect on the next loss is smaller: 5e-4 was seen with 128 latents.
# In TF32 products are rounded to 11 bits.
LOSS_GATES = {"float32": 2e-3, "tf32": 1e-2}
SCALE = 0.75  # what inputs are multiplied by before the check after the timing


def library_gate(terms: int) -> float:
    """The gate of a sum of so many terms by a library, which may add them one after the other.

    Each of n additions rounds a partial sum by up to UNIT, in either direction: about UNIT * sqrt(n / 2) of the result
    where signs are mixed, UNIT * sqrt(n / 3) where they are not. Ten times that for roundings that lean to one side.
    """
    return max(GATE, 10 * UNIT * terms**0.5)


class Wrong(Exception):
    """What is off about a version's result, in words."""


@dataclass(frozen=True)
class Deviation:
    """How far a quantity is from the truth, relative to it; the longest sum in it; what else may be allowed."""

    name: str
    error: float
    terms: int = 1
    allowance: float = 0.0

    def gate(self, by_library: bool) -> float:
        return max(library_gate(self.terms) if by_library else GATE, self.allowance)


Check = Callable[[Sequence[Tensor]], Iterable[Deviation]]


def deviation(name: str, result: Tensor, truth: Tensor, terms: int = 1, allowance: float = 0.0) -> Deviation:
    """The relative root-mean-square error of a float32 result. Raises Wrong for a type or shape that is not right."""
    if not isinstance(result, Tensor) or result.dtype != torch.float32:
        raise Wrong(f"{name} is of type {getattr(result, 'dtype', type(result).__name__)}, not torch.float32")
    if result.shape != truth.shape:
        raise Wrong(f"{name} is {tuple(result.shape)}, not {tuple(truth.shape)}")
    difference, size = (result.detach().double() - truth).norm(), truth.norm()
    return Deviation(name, 0.0 if difference == 0 else float(difference / size), terms, allowance)


def gradients(names: Iterable[str], results: Sequence[Tensor], truths: Sequence[Tensor | None], terms: int):
    """Deviations of gradients by name; a truth of None is that of a gradient that nobody asked for."""
    asked = [(name, truth) for name, truth in zip(names, truths, strict=True) if truth is not None]
    for (name, truth), result in zip(asked, results, strict=True):
        yield deviation(f"gradient of {name}", result, truth, terms)


def check_positions(positions: Tensor, shape: Sequence[int]) -> None:
    if not isinstance(positions, Tensor) or positions.dtype != torch.int32 or positions.shape != torch.Size(shape):
        size, kind = tuple(getattr(positions, "shape", ())), getattr(positions, "dtype", type(positions).__name__)
        raise Wrong(f"positions are {size} {kind}, not {tuple(shape)} torch.int32")


def misplacement(chosen: Tensor, best: Tensor, terms: int) -> Deviation:
    """How far the activations at a version's positions stay below the maxima, at worst: near-ties may turn."""
    return Deviation("positions", float((best - chosen).max() / best.square().mean().sqrt()), terms)


class ByChoice:
    """Computes the truth once for equal choices of versions: the tensors that the function takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.known: list[tuple[list[Tensor], Any]] = []

    def __call__(self, *choice: Tensor) -> Any:
        for before, truth in self.known:
            if all(torch.equal(a, b) for a, b in zip(before, choice, strict=True)):
                return truth
        truth = self.function(*choice)
        self.known.append(([tensor.clone() for tensor in choice], truth))
        return truth


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same bits; NaN equals NaN, and 0 does not equal -0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(t.detach().contiguous().flatten().view(torch.uint8) for t in (a, b)))


def _places(tensors: Sequence[Tensor]) -> set[int]:
    """Where the storages of tensors lie."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


@dataclass
class Outcome:
    """Rows of a contest; why each other version was not timed; whether one was wrong, or one of ours cannot run."""

    rows: list[Row]
    not_timed: dict[str, str] = field(default_factory=dict)
    failed: bool = False


@dataclass
class Contest:
    """Versions of the same call, by name: ours by back-end (a candidate is one of them), and the peers.

    A call returns a tuple of tensors. `truth` makes of float64 copies of the inputs what checks such a tuple.
    """

    op: str
    inputs: dict[str, Tensor]  # all that versions read; a version may not change them
    ours: dict[str, Callable[[], Any]]
    peers: dict[str, Callable[[], Any]]
    work: Work
    truth: Callable[[SimpleNamespace], Check]
    backward: bool = True  # whether a call runs the backward pass
    by_library: bool = False  # whether our own version has a library sum
    results: Callable[[Any], Sequence[Tensor]] = lambda call: call()
    of_peer: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda outputs: outputs  # in the form that ours have

    scaled: Sequence[str] = ()  # the inputs that are multiplied before the check after the timing; empty: the first
    candidate: str | None = None  # which of ours it is; it may be a library's
    type: str = "float32"  # how products are rounded, a name in TYPE_GATES

    def run(self, shapes: dict[str, int], device: str, ceilings: dict[str, Any]) -> Outcome:
        """Check every version, time those that are right, and check those once more, on other numbers."""
        outcome = Outcome([])
        errors = self._errors(self.ours | self.peers, outcome, "not timed")
        if not errors:
            return outcome
        right = {name: call for name, call in (self.ours | self.peers).items() if name in errors}
        samples = measure(right, device, cold=True)
        scaled = [self.inputs[name] for name in self.scaled or list(self.inputs)[:1]]
        kept = [tensor.detach().clone() for tensor in scaled]
        with torch.no_grad():  # other numbers in the same memory: a result that was remembered is wrong now
            for tensor in scaled:
                tensor.mul_(SCALE)
        still_right = self._errors(right, outcome, "struck from the table")
        with torch.no_grad():
            for tensor, numbers in zip(scaled, kept, strict=True):
                tensor.copy_(numbers)
        samples = {name: taken for name, taken in samples.items() if name in still_right}
        outcome.rows = rows(self.op, samples, set(self.peers), errors, self.work, ceilings, shapes, device, self.type)
        return outcome

    def _errors(self, versions: dict[str, Callable[[], Any]], outcome: Outcome, fate: str) -> dict[str, float]:
        """The largest error of each version that is right; of each other the outcome says why it is not timed."""
        kept = {name: tensor.detach().clone() for name, tensor in self.inputs.items()}
        check = self.truth(
            SimpleNamespace(**{n: t.double() if t.is_floating_point() else t.clone() for n, t in kept.items()})
        )
        errors: dict[str, float] = {}
        for name, call in versions.items():
            reason, unable = None, False
            try:
                errors[name] = self._error(name, call, check)
            except Wrong as wrong:
                reason = str(wrong)
            except Exception as error:  # whatever a candidate or a compiler raises: the others are timed
                reason = f"it raises {type(error).__name__}: {error}".splitlines()[0]
                unable = name in self.peers
            changed = [label for label, tensor in self.inputs.items() if not same_bits(tensor, kept[label])]
            if changed:
                reason = f"it changed its input {', '.join(changed)}" + (f"; {reason}" if reason else "")
                with torch.no_grad():
                    for label in changed:
                        self.inputs[label].copy_(kept[label])
            if reason:
                errors.pop(name, None)
                outcome.not_timed[name] = reason
                outcome.failed |= not unable
                print(f"{self.op}, {name}: {reason}; {fate}", flush=True)
        return errors

    def _error(self, name: str, call: Callable[[], Any], check: Check) -> float:
        """The largest error of a version's results. Raises Wrong where one is above its gate."""
        first = self.results(call)
        kept = [tensor.detach().clone() for tensor in first]
        if name in self.ours:
            again = self.results(call)
            if _places(first) & _places(again):
                raise Wrong("a later call writes into the result of an earlier one")
            if not all(same_bits(a, b) for a, b in zip(kept, again, strict=True)):
                raise Wrong("the same call gives other bits when it is repeated")
        else:
            kept = list(self.of_peer(kept))
        worst = 0.0
        for found in check(kept):
            gate = found.gate(self.by_library or name in self.peers or name == self.candidate)
            gate = max(gate, TYPE_GATES[self.type])
            if not found.error <= gate:
                raise Wrong(f"{found.name} is off by {found.error:.2g}, above {gate:.2g}")
            worst = max(worst, found.error)
        return worst
