"""The calls of a case and their truth, which all implementations and mutants share."""

import contextlib
import copy
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from torch import Tensor

from partae_fast.conformance.examination import Call, Check

LARGEST = 200 << 20  # bytes of all calls that a process keeps


class Memory:
    """Calls by check, case, type and draw; the least recently used are dropped.

    Each request gets tensors of its own: an implementation may write into its inputs.
    """

    def __init__(self) -> None:
        self._calls: OrderedDict[tuple, tuple[Sequence[Call], int]] = OrderedDict()
        self._bytes = 0

    def get(self, key: tuple, build) -> Sequence[Call]:
        if key in self._calls:
            self._calls.move_to_end(key)
            return copied(self._calls[key][0])
        calls = build()
        size = sum(map(size_of, calls))
        if size <= LARGEST // 4:
            self._calls[key] = copied(calls), size
            self._bytes += size
        while self._bytes > LARGEST:
            self._bytes -= self._calls.popitem(last=False)[1][1]
        return calls


def copied(calls: Sequence[Call]) -> list[Call]:
    """Return calls with copies of their tensors, which have the same strides and the same common storage."""
    copies: dict = {}

    def arguments(call: Call) -> tuple:
        return tuple(copy.deepcopy(a, copies) if isinstance(a, Tensor) else a for a in call.arguments)

    return [replace(call, arguments=arguments(call)) for call in calls]


def size_of(call: Call) -> int:
    """Return the bytes of the inputs of a call, of its truth, and of as much again for what a comparison needs."""
    inputs = sum(tensor.untyped_storage().nbytes() for tensor in call.tensors)
    return inputs + 2 * sum(np.asarray(output.truth).nbytes for output in call.outputs if output.truth is not None)


@contextlib.contextmanager
def calls_built_once():
    """Build the inputs of a case, and compute their truth, once in this process."""
    memory, calls = Memory(), Check.calls

    def remembered(check, case, dtype, device, tolerance, draw):
        key = check, case, dtype, device, tolerance, draw
        return memory.get(key, lambda: calls(check, case, dtype, device, tolerance, draw))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Check, "calls", remembered)
        yield


@pytest.fixture(scope="session", autouse=True)
def calls_are_built_once():
    with calls_built_once():
        yield
