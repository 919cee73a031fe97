"""The CUDA C kernel of train_steps on the CPU: built by g++ with the thread shim, called through ctypes."""

import ctypes
import functools
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from partae_fast.conformance.memory import poisoned
from partae_fast.kernels.train_steps.cuda import Plan, packed
from partae_fast.kernels.train_steps.training_run import TrainingRun

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[2] / "kernels"
COMPILER = shutil.which("g++")
FLAGS = ("-std=c++20", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror")
LIBRARY = "-fPIC", "-shared"
WATCHED = "-g1", "-fsanitize=thread"  # -g1: reports of races have line numbers


@functools.cache
def folder() -> tempfile.TemporaryDirectory:
    """Return the folder of libraries, which is deleted when the process ends."""
    return tempfile.TemporaryDirectory(prefix="partae-shim-")


@functools.cache
def precompiled(*flags: str) -> Path:
    """Return a precompiled header of the shim, which g++ uses if the flags are the same."""
    header = Path(tempfile.mkdtemp(dir=folder().name)) / "precompiled.h"
    header.write_text('#include "_cuda/shim.h"\n')
    compiled = header.with_suffix(".h.gch")
    _compile(*FLAGS, *flags, f"-I{KERNELS}", "-x", "c++-header", str(header), "-o", str(compiled))
    return header


def compile_source(source: str, plan: Plan, output: Path, *flags: str, grid: int = 0, kernels: Path = KERNELS) -> Path:
    """Build SOURCE, a file beside this one, with the plan's kernel from the folder `kernels`."""
    macros = [f"-D{name}={value}" for name, value in {**plan.macros(), "GRID": grid}.items()]
    shim = "-include", str(precompiled(*flags))
    _compile(*FLAGS, *flags, *macros, *shim, f"-I{kernels}", str(HERE / source), "-o", str(output))
    return output


def _compile(*arguments: str) -> None:
    done = subprocess.run([COMPILER or "g++", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@functools.cache
def library(plan: Plan) -> ctypes.CDLL:
    """Return the library of the plan's kernel, built once in a session."""
    output = Path(folder().name) / f"{abs(hash(plan))}.so"
    return ctypes.CDLL(str(compile_source("shim.cpp", plan, output, *LIBRARY)))


def train_steps(plan: Plan, blocks: int, runs: Sequence[TrainingRun], first: int, steps: int) -> torch.Tensor:
    """Run cuda.train_steps on `blocks` blocks of system threads, with memory that is NaN at first."""
    code = library(plan)
    with poisoned():
        launch_data = packed(runs, plan, blocks, first, steps)
    code.launch(launch_data.launch.ctypes.data_as(ctypes.c_void_p), blocks)
    return launch_data.losses


def repeated_launch(
    plan: Plan, blocks: int, runs: Sequence[TrainingRun], first: int, steps: int, times: int
) -> Iterator[torch.Tensor]:
    """Run one packed launch several times, unchanged; yield the losses of each."""
    launch_data = packed(runs, plan, blocks, first, steps)
    for _ in range(times):
        library(plan).launch(launch_data.launch.ctypes.data_as(ctypes.c_void_p), blocks)
        yield launch_data.losses.clone()


def ran(program: Path, batch: int, frames: int) -> subprocess.CompletedProcess:
    """Run a program made of races.cpp."""
    return subprocess.run([program, str(batch), str(frames)], capture_output=True, text=True, timeout=120)


def races(plan: Plan, blocks: int, batch: int, frames: int, output: Path, kernels: Path = KERNELS) -> str:
    """Return the thread sanitizer's report of a few steps on `blocks` blocks; empty if there is none."""
    program = compile_source("races.cpp", plan, output, *WATCHED, grid=blocks, kernels=kernels)
    run = [str(program), str(batch), str(frames)]
    done = ran(program, batch, frames)
    setarch = shutil.which("setarch")
    if (
        "unexpected memory mapping" in done.stderr and setarch
    ):  # the sanitizer does not support this much address randomization
        command = [setarch, platform.machine(), "--addr-no-randomize", *run]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 66), f"exit code {done.returncode}: {done.stderr}"
    assert (done.returncode == 66) == ("WARNING: ThreadSanitizer" in done.stderr)
    return done.stderr if done.returncode else ""
