"""The CUDA C kernels on the CPU: built by g++ with the thread shim of `kernels/_cuda/shim.h`."""

import atexit
import contextlib
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from torch import Tensor

from ..kernels._cuda.common import KERNELS, Target, running_on_cpu
from ..kernels.train_steps import TrainingRun
from ..kernels.train_steps.cuda import Plan, extras_of, groups_of, packed

OPS = ("encode", "decode", "partitioned_loss")  # that run in the shim on tensors in CPU memory
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++20", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror")
LIBRARY = ("-fPIC", "-shared")
Macros = tuple[tuple[str, int | str], ...]

# For each kernel: its launch, and the bytes of its argument.
EXPORTS = """
extern "C" bool launch_{export}(const void* argument, int blocks, size_t bytes) {{
    return shim::{launch}({name}, argument, blocks, {sizes}, bytes);
}}
extern "C" int argument_bytes_{export}() {{ return shim::argument_bytes({name}); }}
"""


def exports(text: str, suffix: str = "") -> str:
    """Return code that exports the kernels in the text of a file, as their names and `suffix`."""
    code = ""
    for threads, cluster, name in re.findall(r"^KERNEL\((.*), (.*)\) (\w+)\(", text, re.MULTILINE):
        # The blocks of a single op do not wait for one another. A composed kernel has no single ops beside it.
        single = cluster == "1"
        launch, sizes = ("launch", threads) if single else ("launch_together", f"{threads}, {cluster}")
        lines = EXPORTS.format(name=name, export=name + suffix, launch=launch, sizes=sizes)
        code += f"\n#ifndef COMPOSED{lines}#endif\n" if single else lines
    return code


FOLDER = "PARTAE_SHIM_FOLDER"  # an environment variable: a folder of builds that several processes share


@functools.cache
def _folder() -> Path:
    """Return the folder that FOLDER names, or one that is deleted when the process ends."""
    if shared := os.environ.get(FOLDER):
        return Path(shared)
    folder = tempfile.mkdtemp(prefix="partae-shim-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _compile(*arguments: str) -> None:
    done = subprocess.run([COMPILER or "g++", *FLAGS, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"g++ cannot build the kernels: {done.stderr}")


@functools.cache
def _headers(kernels: Path) -> str:
    """Return a digest of every file below `kernels` that code can include."""
    files = sorted(path for ending in ("*.cuh", "*.h") for path in kernels.rglob(ending))
    return _digest(*(f"{path.relative_to(kernels)}\n{path.read_text()}" for path in files))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _made_once(path: Path) -> Iterator[Path | None]:
    """Yield a path to write `path` to, or None if it exists; other processes wait."""
    with filelock.FileLock(f"{path}.lock"):
        if path.exists():
            yield None
            return
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            yield Path(folder) / path.name
            (Path(folder) / path.name).rename(path)


@functools.cache
def _precompiled(*flags: str) -> Path:
    """Return a precompiled header of the shim, which g++ uses if the flags are the same."""
    header = _folder() / f"{_digest(_headers(KERNELS), *flags)}.h"
    compiled_header = header.with_name(f"{header.name}.gch")
    with _made_once(compiled_header) as output:
        if output:
            header.write_text('#include "_cuda/shim.h"\n')
            _compile(*flags, f"-I{KERNELS}", "-x", "c++-header", str(header), "-o", str(output))
    return header


def build(text: str, macros: Macros, *flags: str, kernels: Path = KERNELS) -> Path:
    """Build C++ code that includes files below `kernels`, with more flags of g++; return the library or program.

    It is built once in the folder of builds. No file that it includes may change later.
    """
    defined, shim = [f"-D{name}={value}" for name, value in macros], ("-include", str(_precompiled(*flags)))
    result = _folder() / _digest(text, _headers(kernels), *defined, *flags)
    with _made_once(result) as output:
        if output:
            source = output.with_suffix(".cpp")
            source.write_text(text)
            _compile(*flags, *defined, *shim, f"-I{kernels}", str(source), "-o", str(output))
    return result


def compiled(text: str, macros: Macros, *flags: str) -> ctypes.CDLL:
    """Build C++ code as a library and load it."""
    return ctypes.CDLL(str(build(text, macros, *LIBRARY, *flags)))


@functools.cache
def library(path: str, macros: Macros, *flags: str) -> ctypes.CDLL:
    """Return the library of a file's kernels, built once in a process."""
    return compiled(f'#include "{path}"\n{exports((KERNELS / path).read_text())}', macros, *flags)


def start(
    path: str,
    name: str,
    macros: Macros,
    blocks: int,
    shared: int,
    argument: np.ndarray,
    load: Callable[[str, Macros], Any] = library,
) -> None:
    """Run a kernel with all its blocks; raise AssertionError if its argument is packed or it runs wrongly."""
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
        macros, shared = tuple(plan.macros().items()), plan.shared_bytes(groups_of(runs[0]))
        start("train_steps/train_steps.cuh", "train_steps", macros, blocks, shared, launch.launch)
        return launch.losses
