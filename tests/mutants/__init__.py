"""Wrong kernels, each with one fault, and similar right ones, which `partae verify` must distinguish."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A candidate for a pass, and whether it is right."""

    op_pass: str
    function: Callable
    right: bool

    @property
    def name(self) -> str:
        return f"{self.op_pass}: {self.function.__name__}"


MUTANTS: list[Mutant] = []


def wrong(*op_passes: str) -> Callable[[Callable], Callable]:
    """Register a function as a wrong kernel for these passes."""
    return _registered(op_passes, right=False)


def right(*op_passes: str) -> Callable[[Callable], Callable]:
    """Register a function as a right kernel for these passes."""
    return _registered(op_passes, right=True)


def _registered(op_passes: tuple[str, ...], right: bool) -> Callable[[Callable], Callable]:
    def register(function: Callable) -> Callable:
        MUTANTS.extend(Mutant(op_pass, function, right) for op_pass in op_passes)
        return function

    return register
