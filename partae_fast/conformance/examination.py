"""Calls of a pass, and requirements besides the values of its results.

A pass must not modify its inputs. It must write every element of its results, in new memory and without a graph; return
the same bits for the same numbers; depend on the numbers, not on shapes or addresses; leave earlier results intact; and
allow many calls, also from several threads. The truth is computed from copies before the first call.
"""

import concurrent.futures
import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..kernels.registry import interpreting
from .comparison import WRONG, Output
from .memory import bits, global_state, overwrite, poisoned, storage


class KeywordMissing(Exception):
    """Raised if a candidate lacks a keyword; it is then not checked on cases that need it."""


@dataclass(frozen=True)
class Call:
    """A call of a pass: its arguments and the expected results. `name` is a prefix of the names of quantities."""

    arguments: tuple[Any, ...]
    outputs: tuple[Output, ...]
    keywords: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def run(self, function: Callable) -> tuple[Any, ...]:
        result = function(*self.arguments, **self.keywords)
        return tuple(result) if isinstance(result, (tuple, list)) else (result,)

    def errors(self, results: tuple[Any, ...], name: str = "") -> dict[str, float]:
        """Return the error of each quantity."""
        if len(results) != len(self.outputs):
            return {f"{name}number of results": WRONG}
        pairs = zip(self.outputs, results, strict=True)
        return {name + self.name + output.name: output.error(result) for output, result in pairs}

    @property
    def tensors(self) -> list[Tensor]:
        return [argument for argument in self.arguments if isinstance(argument, Tensor)]


# calls(draw): the calls of a case with the numbers of that draw. The first is checked thoroughly.
Calls = Callable[[int], Sequence[Call]]


def examine(function: Callable, calls: Calls, thorough: bool = True) -> dict[str, float]:
    """Return the errors of a pass by quantity, over the calls of a case; raise KeywordMissing if it lacks a keyword.

    Without `thorough` a pass is called once as it is and once with poisoned memory; in Triton's interpreter, where a
    call may take seconds, only once, with poisoned memory.
    """
    first, *others = calls(0)
    for keyword in first.keywords:
        if not takes(function, keyword):
            raise KeywordMissing(keyword)
    state, before = global_state(), [storage(tensor).clone() for tensor in first.tensors]
    errors: dict[str, float] = {}

    def record(quantities: dict[str, float]) -> None:
        for quantity, error in quantities.items():
            errors[quantity] = max(error, errors.get(quantity, 0.0))

    def record_checks(**checks: bool) -> None:
        record({name.replace("_", " "): 0.0 if holds else WRONG for name, holds in checks.items()})

    def unchanged() -> bool:
        return all(torch.equal(storage(t), b) for t, b in zip(first.tensors, before, strict=True))

    with poisoned() if interpreting() else contextlib.nullcontext():
        results = first.run(function)
    first_bits = [bits(result) for result in _tensors(results)]
    record(first.errors(results))
    untouched = {"inputs_left_alone": unchanged(), "global_state_left_alone": global_state() == state}
    record_checks(**untouched, **_layout_checks(first, results))
    if not interpreting():
        with poisoned():
            record(first.errors(first.run(function)))
    if thorough:
        record(_errors_with_other_numbers(function, first, calls(1)[0]))
        second = first.run(function)
        record_checks(
            bits=_equal(first_bits, [bits(result) for result in _tensors(second)]),
            earlier_results_kept=_equal(first_bits, [bits(r) for r in _tensors(results)])
            and not _share(results, second),
        )
        for other in others:
            record(other.errors(other.run(function)))
    record_checks(inputs_left_alone=unchanged())
    return errors


def _errors_with_other_numbers(function: Callable, call: Call, other: Call) -> dict[str, float]:
    """Return errors of a call with other numbers in the same tensors: a pass must not cache by shape or address."""
    originals = [storage(tensor).clone() for tensor in call.tensors]
    for tensor, replacement in zip(call.tensors, other.tensors, strict=True):
        overwrite(tensor, replacement)
    arguments = [a if isinstance(a, Tensor) else b for a, b in zip(call.arguments, other.arguments, strict=True)]
    changed = Call(tuple(arguments), other.outputs, other.keywords)
    errors = changed.errors(changed.run(function), "other numbers: ")
    for tensor, original in zip(call.tensors, originals, strict=True):
        storage(tensor).copy_(original)
    return errors


class Check:
    """The check of a pass: it examines each call that build(case, dtype, device, tolerance, draw) returns.

    `adapt` wraps a pass that changes its arguments in place.
    """

    def __init__(self, op_pass: str, build: Callable[..., Sequence[Call]], adapt: Callable | None = None) -> None:
        self.op_pass, self._build, self._adapt = op_pass, build, adapt

    def calls(self, case: Any, dtype: torch.dtype, device: torch.device, tolerance: float, draw: int) -> Sequence[Call]:
        """Return the calls of a case with the numbers of a draw, and the truth of each."""
        return self._build(case, dtype, device, tolerance, draw)

    def function(self, implementation: Any) -> Callable:
        """Return the function of an implementation that is called."""
        function = getattr(implementation, self.op_pass)
        return self._adapt(function) if self._adapt else function

    def __call__(
        self,
        case: Any,
        implementation: Any,
        dtype: torch.dtype,
        device: torch.device,
        tolerance: float,
        thorough: bool = True,
    ) -> dict[str, float]:
        """Return the errors by quantity of an implementation on a case."""
        calls = functools.partial(self.calls, case, dtype, device, tolerance)
        return examine(self.function(implementation), calls, thorough)


def examined(build: Callable[..., Sequence[Call]]) -> Check:
    """Decorate a function that builds the calls of the pass of its name; return the check."""
    return Check(build.__name__, build)


def takes(function: Callable, keyword: str) -> bool:
    """Return whether a function takes the keyword."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return True
    return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _layout_checks(call: Call, results: tuple[Any, ...]) -> dict[str, bool]:
    """Return, by requirement, whether results have the layout and memory that an op's results must have."""
    addresses = {tensor.untyped_storage().data_ptr() for tensor in call.tensors}
    tensors = _tensors(results)
    return {
        "contiguous": all(tensor.is_contiguous() for tensor in tensors),
        "no_graph": not any(tensor.requires_grad or tensor.grad_fn is not None for tensor in tensors),
        "memory_of_its_own": not any(t.numel() and t.untyped_storage().data_ptr() in addresses for t in tensors),
    }


def _tensors(results: Sequence[Any]) -> list[Tensor]:
    return [result for result in results if isinstance(result, Tensor)]


def _equal(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return len(some) == len(others) and all(torch.equal(a, b) for a, b in zip(some, others, strict=True))


def _share(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Return whether the results of two calls, both alive, share memory."""
    addresses = {t.untyped_storage().data_ptr() for t in _tensors(some) if t.numel()}
    return any(t.untyped_storage().data_ptr() in addresses for t in _tensors(others) if t.numel())


THREADS = 3


def repeat(function: Callable, calls: Calls, times: int, slack: float | None = None) -> dict[str, float]:
    """Return WRONG if one of many calls gives other bits than the first, or threads disturb one another.

    With `slack`, results in threads may have errors up to it: the bits of a library's products depend on the number of
    threads, which concurrent calls share.
    """
    draws = [calls(draw)[0] for draw in range(THREADS)]
    results = [_tensors(call.run(function)) for call in draws]
    expected = [[bits(tensor) for tensor in tensors] for tensors in results]
    steady = all(_equal(_tensors(draws[0].run(function)), results[0]) for _ in range(times))
    steady = steady and _equal(expected[0], [bits(tensor) for tensor in results[0]])

    def alike(index: int) -> bool:
        rounds = (draws[index].run(function) for _ in range(max(6, times // 100)))
        if slack is not None:
            return all(max(draws[index].errors(result).values()) <= slack for result in rounds)
        return all(_equal([bits(tensor) for tensor in _tensors(result)], expected[index]) for result in rounds)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # so that threads switch within a call
    try:
        with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
            undisturbed = all(pool.map(alike, range(THREADS)))
    finally:
        sys.setswitchinterval(interval)
    return {
        f"the same bits in {times} calls": 0.0 if steady else WRONG,
        f"the same in {THREADS} threads": 0.0 if undisturbed else WRONG,
    }
