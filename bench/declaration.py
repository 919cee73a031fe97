"""The decorator that declares a benchmark; `conftest.py` makes a test of each of its versions."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from partae_fast.kernels import OPS

from . import peers
from .common import GRAPH, Contest
from .passes import BACKWARD, COMPILED_OURS, STEP

Shape = dict[str, int]
BACKENDS = {"cpu": ("cpu",), "cuda": ("triton", "cuda")}  # partae's back-ends, by device
ROUNDS, STEP_ROUNDS, QUICK_ROUNDS = 25, 11, 5


def backends_of(ops: Sequence[str], device: str) -> list[str]:
    """Return partae's back-ends for this device that all of the ops have."""
    return [name for name in BACKENDS[device] if all(name in OPS[op].backends for op in ops)]


@dataclass(frozen=True)
class Benchmark:
    """The groups of one op: one group for each pass and shape, with a test for every version.

    `build(op_pass, shape, device, backends)` returns the contest of a group. `ours(device)` and `peers(device)` return
    the names of its versions; if `ours` is None, partae's versions are the back-ends of the op. `smoke` is a tiny shape
    whose results are checked without timing. `quick` is the shape of a quick run (default: the first shape).
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
    name: str = ""  # used in the names of groups (default: the op's name)
    ops: tuple[str, ...] = ()  # other ops that are timed, of which a candidate may be

    def shapes_on(self, device: str) -> list[Shape]:
        """Return the shapes that are timed on a device."""
        if device not in self.devices:
            return []
        return [*self.shapes, *(self.on_gpu if device == "cuda" else ())]

    def backends(self, device: str, candidate: str | None = None) -> list[str]:
        """Return the argument `backends` of `build`: partae's back-ends, and the candidate."""
        names = self.ours(device) if self.ours else backends_of((self.op, *self.ops), device)
        return [*names, *([candidate] if candidate else [])]

    def versions(self, op_pass: str, device: str, backends: Sequence[str]) -> list[str]:
        """Return the names of the versions of a group, partae's first."""
        plain = [*(self.prefix + name for name in backends), *self.peers(device)]
        if self.ours or device != "cuda" or op_pass == STEP:
            return plain
        plain[len(backends) : len(backends)] = [COMPILED_OURS + name for name in backends]
        captured = [GRAPH + name for name in plain if not any(way in name for way in peers.ON_GPU)]
        return plain if op_pass == BACKWARD else [*plain, *captured]


def benchmark(op: str, **fields: Any) -> Callable[[Callable[..., Contest]], Callable[..., None]]:
    """Turn a function that builds contests into a benchmark; the fields are those of `Benchmark`."""

    def decorate(build: Callable[..., Contest]) -> Callable[..., None]:
        declared = Benchmark(op, build=build, **fields)

        def test(interleaved: Callable[[Benchmark], None]) -> None:
            interleaved(declared)

        functools.update_wrapper(test, build, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
        del test.__wrapped__  # otherwise pytest takes the parameters of `build` for fixtures
        test.declared = declared  # pyright: ignore[reportFunctionMemberAccess]
        return test

    return decorate


def text_of(shape: Shape) -> str:
    """Return a shape in the format of `--shape`."""
    return ",".join(str(size) for size in shape.values())
