"""How a benchmark is declared: its op, passes, shapes and versions, of which `conftest.py` makes tests."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from partae_fast.kernels import OPS

from . import peers
from .common import GRAPH, Contest
from .passes import BACKWARD, STEP

Shape = dict[str, int]
BACKENDS = {"cpu": ("cpu",), "cuda": ("triton", "cuda")}  # ours, by device
ROUNDS, STEP_ROUNDS, QUICK_ROUNDS = 25, 11, 5


def backends_of(op: str, device: str) -> list[str]:
    """Return our implementations of an op that are for this device."""
    return [name for name in BACKENDS[device] if name in OPS[op].backends]


@dataclass(frozen=True)
class Benchmark:
    """The groups of one op: one for each pass and shape, each with a test for every version.

    `build(op_pass, shape, device, backends)` makes the contest of a group. `ours` and `peers` name its versions on a
    device; where `ours` is None they are the op's implementations. `smoke` is a tiny shape, which is checked and not
    timed. `quick` is the shape of a quick run, by default the first.
    """

    op: str
    passes: tuple[str, ...]
    shapes: Sequence[Shape]
    smoke: Shape
    build: Callable[[str, Shape, str, list[str]], Contest]
    on_gpu: Sequence[Shape] = ()
    quick: Shape | None = None
    ours: Callable[[str], list[str]] | None = None
    prefix: str = ""
    peers: Callable[[str], list[str]] = peers.names
    devices: tuple[str, ...] = ("cpu", "cuda")
    rounds: int = ROUNDS
    name: str = ""  # in the names of groups, where it is not the op's

    def shapes_on(self, device: str) -> list[Shape]:
        """Return the shapes that are timed on a device."""
        if device not in self.devices:
            return []
        return [*self.shapes, *(self.on_gpu if device == "cuda" else ())]

    def backends(self, device: str, candidate: str | None = None) -> list[str]:
        """Return what `build` gets as `backends`: our implementations and the candidate."""
        names = self.ours(device) if self.ours else backends_of(self.op, device)
        return [*names, *([candidate] if candidate else [])]

    def versions(self, op_pass: str, device: str, backends: Sequence[str]) -> list[str]:
        """Return the names of the versions of a group, ours first."""
        plain = [*(self.prefix + name for name in backends), *self.peers(device)]
        graphs = self.peers is peers.names and device == "cuda" and op_pass not in (BACKWARD, STEP)
        return [*plain, *(GRAPH + name for name in plain if name not in peers.ON_GPU)] if graphs else plain


def benchmark(op: str, **fields: Any) -> Callable[[Callable[..., Contest]], Callable[..., None]]:
    """Make a benchmark of a function that builds contests; the fields are those of `Benchmark`."""

    def decorate(build: Callable[..., Contest]) -> Callable[..., None]:
        declared = Benchmark(op, build=build, **fields)

        def test(interleaved: Callable[[Benchmark], None]) -> None:
            interleaved(declared)

        functools.update_wrapper(test, build, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        del test.__wrapped__  # its parameters are not fixtures
        test.declared = declared  # pyright: ignore[reportFunctionMemberAccess]
        return test

    return decorate


def text_of(shape: Shape) -> str:
    """Return a shape as `--shape` takes it."""
    return ",".join(str(size) for size in shape.values())
