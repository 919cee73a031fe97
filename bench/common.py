"""Contests between versions of one call, which are checked, timed and checked again.

The truth is eager PyTorch in float64, computed from copies of the inputs. If a gradient depends on a choice in the
version's forward pass (the frame of a maximum, the side of a kink), the truth is computed for that choice.
"""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch._functorch.config
from torch import Tensor

from partae_fast.kernels import BackendUnavailable

from .budget import Share
from .timing import ROUNDS, Row, Work, measure, row

GRAPH = "CUDA graph of "  # prefix of the name of a version whose calls replay a captured graph

# Largest relative root-mean-square error of partae's sums, which are made in blocks and in a fixed order; the same as
# in `partae verify`.
GATE = 1e-5
# Largest error if operands are rounded to TF32, which has 11 bits, or to bfloat16, which has 8; the same as in
# `partae verify`.
TYPE_GATES = {"float32": 0.0, "tf32": 1e-3, "bfloat16": 2e-2}
UNIT = 2.0**-24  # relative rounding error of float32
# Largest relative difference of the losses of a model's first 10 steps. If rounding changes which of two nearly equal
# frames is the maximum, the gradient of a step changes by about 0.3 %. The effect on the next loss is smaller: up to
# 5e-4 was measured with 128 latents. In TF32, products are rounded to 11 bits.
LOSS_GATES = {"float32": 2e-3, "tf32": 1e-2}
SCALE = 0.75  # factor on the inputs for the check after the timing


def library_gate(terms: int) -> float:
    """Return the largest error allowed for a library's sum of `terms` terms, added one after the other.

    Each of n additions rounds a partial sum by up to UNIT, up or down. The error of the result is about
    UNIT * sqrt(n / 2) for terms of mixed sign and UNIT * sqrt(n / 3) for terms of one sign. The gate is ten times that,
    because roundings may have a bias.
    """
    return max(GATE, 10 * UNIT * terms**0.5)


class Wrong(Exception):
    """The result of a version is wrong; the message says in what."""


@dataclass(frozen=True)
class Deviation:
    """The error of one quantity of a result, relative to the truth."""

    name: str
    error: float
    terms: int = 1  # in the longest sum
    allowance: float = 0.0  # an error that is allowed in any case

    def gate(self, by_library: bool) -> float:
        """Return the largest error allowed, if partae or a library made the sums."""
        return max(library_gate(self.terms) if by_library else GATE, self.allowance)


Check = Callable[[Sequence[Tensor]], Iterable[Deviation]]


def deviation(name: str, result: Tensor, truth: Tensor, terms: int = 1, allowance: float = 0.0) -> Deviation:
    """Return the relative root-mean-square error of a float32 result; under autocast it may be of its type.

    Raises Wrong if the type or the shape is wrong.
    """
    kinds = {torch.float32}
    if isinstance(result, Tensor) and torch.is_autocast_enabled(result.device.type):
        kinds.add(torch.get_autocast_dtype(result.device.type))
    if not isinstance(result, Tensor) or result.dtype not in kinds:
        raise Wrong(f"{name} is of type {getattr(result, 'dtype', type(result).__name__)}, not torch.float32")
    if result.shape != truth.shape:
        raise Wrong(f"{name} is {tuple(result.shape)}, not {tuple(truth.shape)}")
    difference, size = (result.detach().double() - truth).norm(), truth.norm()
    return Deviation(name, 0.0 if difference == 0 else float(difference / size), terms, allowance)


def gradients(names: Iterable[str], results: Sequence[Tensor], truths: Sequence[Tensor | None], terms: int):
    """Yield the deviation of each gradient; a truth is None if the results lack that gradient."""
    computed = [(name, truth) for name, truth in zip(names, truths, strict=True) if truth is not None]
    for (name, truth), result in zip(computed, results, strict=True):
        yield deviation(f"gradient of {name}", result, truth, terms)


def check_positions(positions: Tensor, shape: Sequence[int]) -> None:
    """Raise Wrong unless positions are an int32 tensor of this shape."""
    if not isinstance(positions, Tensor) or positions.dtype != torch.int32 or positions.shape != torch.Size(shape):
        size, kind = tuple(getattr(positions, "shape", ())), getattr(positions, "dtype", type(positions).__name__)
        raise Wrong(f"positions are {size} {kind}, not {tuple(shape)} torch.int32")


def misplacement(at_positions: Tensor, best: Tensor, terms: int) -> Deviation:
    """Return by how much the activations at a version's positions are below the true maxima, at most.

    Positions themselves are not compared, because rounding may change which of two nearly equal activations is larger.
    """
    return Deviation("positions", float((best - at_positions).max() / best.square().mean().sqrt()), terms)


class ByChoice:
    """A function of tensors that remembers its results.

    Versions that made the same choices in their forward pass share one computation of the truth.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.truths: list[tuple[list[Tensor], Any]] = []

    def __call__(self, *choice: Tensor) -> Any:
        for earlier_choice, truth in self.truths:
            if all(torch.equal(a, b) for a, b in zip(earlier_choice, choice, strict=True)):
                return truth
        truth = self.function(*choice)
        self.truths.append(([tensor.clone() for tensor in choice], truth))
        return truth


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors hold the same bits; NaN equals NaN, and 0 does not equal -0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(t.detach().contiguous().flatten().view(torch.uint8) for t in (a, b)))


def _addresses(tensors: Sequence[Tensor]) -> set[int]:
    """Return the addresses of the tensors' storages."""
    return {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}


@dataclass
class Outcome:
    """The results of a contest, by version."""

    samples: dict[str, np.ndarray] = field(default_factory=dict)  # seconds of each sample, of correct versions
    errors: dict[str, float] = field(default_factory=dict)  # the largest error of each correct version
    wrong: dict[str, str] = field(default_factory=dict)  # why a version is wrong and was not timed
    unable: dict[str, str] = field(default_factory=dict)  # why a version cannot run here


@dataclass
class Contest:
    """A comparison of versions of one call: `ours` are partae's back-ends and the candidate, by name.

    `peers` are the versions that they are compared with, by name. A call returns a tuple of tensors, or has a method
    `results` that does. `truth` takes float64 copies of the inputs and returns a check of such a tuple. Without `work`
    there is no floor.
    """

    op: str
    op_pass: str
    inputs: dict[str, Tensor]  # all inputs of the versions, which must not change them
    ours: dict[str, Callable[[], Any]]
    peers: dict[str, Callable[[], Any]]
    work: Work | None
    truth: Callable[[SimpleNamespace], Check]
    by_library: bool = False  # whether a library makes the sums of partae's own versions
    of_peer: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda outputs: (
        outputs
    )  # converts outputs to partae's form
    scaled: Sequence[str] = ()  # the inputs that are scaled for the check after the timing (default: the first one)
    cold: bool = True  # on a GPU, whether the cache is flushed before each call
    works: dict[str, Work] = field(default_factory=dict)  # for versions whose work differs from `work`
    about: dict[str, dict[str, Any]] = field(default_factory=dict)  # additional entries for the rows of versions
    candidate: str | None = None  # name of the candidate in `ours`; its sums may be made by a library
    type: str = "float32"  # how products are rounded, a name in TYPE_GATES
    _truth_seconds: float = 0.0

    def run(
        self,
        device: str,
        versions: Collection[str] | None = None,
        rounds: int = ROUNDS,
        timed: bool = True,
        share: Share | None = None,
    ) -> Outcome:
        """Check the versions (default: all), time the correct ones, and check these again with other numbers.

        With a share, versions and rounds for which it has no time are left out.
        """
        outcome = Outcome()
        calls = {name: call for name, call in (self.ours | self.peers).items() if versions is None or name in versions}
        with torch._functorch.config.patch(
            donated_buffer=False
        ):  # otherwise a compiled backward pass can run only once
            outcome.errors = self._errors(calls, outcome, share=share)
            correct = {name: calls[name] for name in outcome.errors}
            samples = measure(correct, device, rounds, self.cold, *self._fitting(share)) if timed else {}
            scaled = [self.inputs[name] for name in self.scaled or list(self.inputs)[:1]]
            copies = [tensor.detach().clone() for tensor in scaled]
            with torch.no_grad():  # other numbers at the same addresses: a cached result is wrong now
                for tensor in scaled:
                    tensor.mul_(SCALE)
            still_correct = self._errors(correct, outcome, "after the timing ")
            with torch.no_grad():
                for tensor, copy in zip(scaled, copies, strict=True):
                    tensor.copy_(copy)
        outcome.samples = {name: seconds for name, seconds in samples.items() if name in still_correct}
        outcome.errors = {name: outcome.errors[name] for name in still_correct}
        return outcome

    def rows(self, outcome: Outcome, shape: dict[str, int], device: str, ceilings: dict[str, Any]) -> list[Row]:
        """Return a row for each version that was timed, ours first."""
        medians = {name: float(np.median(seconds)) for name, seconds in outcome.samples.items()}
        best = min((median for name, median in medians.items() if name in self.peers), default=None)
        return [
            row(
                seconds,
                self.works.get(name, self.work),
                ceilings,
                best,
                op=self.op,
                op_pass=self.op_pass,
                version=name,
                peer=name in self.peers,
                device=device,
                type=self.type,
                shapes=shape,
                error=outcome.errors[name],
                about=self.about.get(name, {}),
            )
            for name, seconds in sorted(outcome.samples.items(), key=lambda sample: sample[0] in self.peers)
        ]

    def _fitting(self, share: Share | None) -> list[Callable[[int, float, float], int]]:
        """Return the function that fits rounds into a share, which keeps the time to compute the truth again."""
        if share is None:
            return []
        return [lambda rounds, seconds, reserve: share.rounds(rounds, seconds, reserve + self._truth_seconds)]

    def _errors(
        self, versions: dict[str, Callable[[], Any]], outcome: Outcome, when: str = "", share: Share | None = None
    ) -> dict[str, float]:
        """Return the largest error of each correct version.

        For the other versions, `outcome` receives the reason, which begins with `when`.
        """
        start = time.monotonic()
        copies = {name: tensor.detach().clone() for name, tensor in self.inputs.items()}
        check = self.truth(
            SimpleNamespace(**{n: t.double() if t.is_floating_point() else t.clone() for n, t in copies.items()})
        )
        self._truth_seconds = time.monotonic() - start
        errors: dict[str, float] = {}
        for name, call in versions.items():
            if share and (refusal := share.refusal(name)):
                outcome.unable[name] = refusal
                continue
            start, reason, unable = time.monotonic(), None, False
            try:
                errors[name] = self._error(name, call, check)
            except Wrong as wrong:
                reason = str(wrong)
            except BackendUnavailable as error:
                reason, unable = str(error), True
            except Exception as error:  # of any kind, from a candidate or a compiler: the other versions are timed
                reason = f"it raises {type(error).__name__}: {error}".splitlines()[0]
                unable = name in self.peers
            if share:
                share.took(name, time.monotonic() - start)
            changed = [label for label, tensor in self.inputs.items() if not same_bits(tensor, copies[label])]
            if changed:
                reason = f"it changed its input {', '.join(changed)}" + (f"; {reason}" if reason else "")
                with torch.no_grad():
                    for label in changed:
                        self.inputs[label].copy_(copies[label])
            if reason:
                errors.pop(name, None)
                (outcome.unable if unable and not changed else outcome.wrong)[name] = when + reason
        return errors

    def _error(self, name: str, call: Callable[[], Any], check: Check) -> float:
        """Return the largest error of a version's results. Raises Wrong if one is above its gate."""
        results = getattr(call, "results", call)
        first = results()
        outputs = [tensor.detach().clone() for tensor in first]
        if name in self.ours:
            second = results()
            if not name.startswith(GRAPH) and _addresses(first) & _addresses(second):
                raise Wrong("a later call writes into the result of an earlier one")
            if not all(same_bits(a, b) for a, b in zip(outputs, second, strict=True)):
                raise Wrong("a repeated call gives different bits")
        else:
            outputs = list(self.of_peer(outputs))
        worst = 0.0
        for deviation in check(outputs):
            gate = deviation.gate(self.by_library or name in self.peers or name == self.candidate)
            gate = max(gate, TYPE_GATES[self.type])
            if not deviation.error <= gate:
                raise Wrong(f"{deviation.name} is off by {deviation.error:.2g}, above {gate:.2g}")
            worst = max(worst, deviation.error)
        return worst
