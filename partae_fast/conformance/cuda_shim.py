"""The CUDA C kernels on the CPU: built by g++ with the thread shim of `kernels/_cuda/shim.h`."""

import contextlib
import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..kernels._cuda.common import KERNELS, Target, running_on_cpu
from ..kernels.train_steps import TrainingRun
from ..kernels.train_steps.cuda import Plan, extras_of, groups_of, packed

OPS = ("encode", "decode", "partitioned_loss")  # that run in the shim on tensors in CPU memory
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++20", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared")
Macros = tuple[tuple[str, int | str], ...]

# For each kernel: its launch, and the bytes of its argument.
EXPORTS = """
extern "C" bool launch_{export}(const void* argument, int blocks, size_t bytes) {{
    return shim::launch({name}, argument, blocks, THREADS, bytes);
}}
extern "C" int argument_bytes_{export}() {{ return shim::argument_bytes({name}); }}
"""


def exports(path: str, suffix: str = "") -> str:
    """Return code that exports the kernels of a file below `kernels`, as their names and `suffix`."""
    names = re.findall(r"^KERNEL\(.*\) (\w+)\(", (KERNELS / path).read_text(), re.MULTILINE)
    return "".join(EXPORTS.format(name=name, export=name + suffix) for name in names)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory:
    """Return the folder of libraries, which is deleted when the process ends."""
    return tempfile.TemporaryDirectory(prefix="partae-shim-")


def compiled(text: str, macros: Macros, *flags: str) -> ctypes.CDLL:
    """Build C++ code that includes files below `kernels`, with more flags of g++, and load it."""
    source = Path(tempfile.mkdtemp(dir=_folder().name)) / "kernels.cpp"
    source.write_text(text)
    output, defined = source.with_suffix(".so"), [f"-D{name}={value}" for name, value in macros]
    command = [COMPILER or "g++", *FLAGS, *flags, *defined, f"-I{KERNELS}", str(source), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"g++ cannot build the kernels: {done.stderr}")
    return ctypes.CDLL(str(output))


@functools.cache
def library(path: str, macros: Macros, *flags: str) -> ctypes.CDLL:
    """Return the library of a file's kernels, built once in a process."""
    return compiled(f'#include "{path}"\n{exports(path)}', macros, *flags)


def start(
    path: str,
    name: str,
    macros: Macros,
    blocks: int,
    shared: int,
    argument: np.ndarray,
    load: Callable[[str, Macros], Any] = library,
) -> None:
    """Run a kernel with all its blocks, one after the other; raise AssertionError if it is packed or runs wrongly."""
    code = load(path, macros)
    expected = getattr(code, f"argument_bytes_{name}")()
    if expected != argument.nbytes:
        raise AssertionError(f"the argument of {name} takes {expected} bytes and {argument.nbytes} are packed")
    run = getattr(code, f"launch_{name}")
    run.restype = ctypes.c_bool
    if not run(ctypes.c_void_p(argument.ctypes.data), blocks, ctypes.c_size_t(shared)):
        raise AssertionError(f"{name} writes past its {shared} bytes of shared memory")


# Small tiles, so that small cases have several, and one build of a file for all sizes.
TARGET = Target(
    start, 8 * 1024, threads=16, lanes=4, frames=2, rows=8, latents=8, outputs=2, sums=3, constant_sizes=False
)
# Whole warps, for the products on tensor cores.
WARPS = replace(TARGET, shared=16 * 1024, threads=64, rows=16)


def shimmed(target: Target = TARGET) -> contextlib.AbstractContextManager[None]:
    """Let the kernels take tensors in CPU memory, and run them through the shim."""
    return running_on_cpu(target)


STEPS = """
#include "train_steps/train_steps.cuh"
extern "C" void launch(const Launch* given, int blocks, size_t bytes) {
    shim::run(blocks, THREADS, CLUSTER, bytes, [=] { train_steps(*given); });
}
"""


@functools.cache
def _steps_library(plan: Plan) -> ctypes.CDLL:
    """Return the library of the persistent kernel for a plan."""
    return compiled(STEPS, tuple(plan.macros().items()))


class TrainSteps:
    """The implementation of train_steps by the persistent kernel, with few threads and a build for each shape."""

    @staticmethod
    def refusal(runs: Sequence[TrainingRun]) -> str | None:
        """Return why the kernel cannot run them, or None."""
        targets = any(run.crops.target is not None for run in runs)
        return "it does not take recordings with targets of their own; use eager" if targets else None

    @staticmethod
    def train_steps(runs: Sequence[TrainingRun], first: int, steps: int) -> Tensor:
        """Train, with two pool windows in a tile, on at most three blocks for one run."""
        batch, frames, bins, latents, taps, pool = runs[0].shape
        population = len(runs) > 1
        plan = Plan(
            bins,
            latents,
            taps,
            pool,
            own=min(2, -(-frames // pool)),
            frames=2,
            slices=1,
            taps_each=min(taps, 3),
            threads=8,
            population=population,
            extras=extras_of(runs[0]),
        )
        blocks = len(runs) if population else min(3, plan.tiles(batch, frames))
        launch = packed(runs, plan, blocks, first, steps)
        argument, shared = launch.launch.ctypes.data, plan.shared_bytes(groups_of(runs[0]))
        _steps_library(plan).launch(ctypes.c_void_p(argument), blocks, ctypes.c_size_t(shared))
        return launch.losses
