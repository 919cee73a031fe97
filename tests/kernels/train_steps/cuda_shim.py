"""The CUDA C kernel of train_steps on the CPU, built for a plan, with what the tests ask it."""

import ctypes
import functools
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from partae_fast.conformance import cuda_shim
from partae_fast.conformance.memory import poisoned
from partae_fast.kernels._cuda.common import KERNELS
from partae_fast.kernels.train_steps.cuda import Packed, Plan, groups_of, packed
from partae_fast.kernels.train_steps.training_run import TrainingRun

HERE = Path(__file__).resolve().parent
FILE = "train_steps/train_steps.cuh"
FAST = "-O0"  # the builds take longer than the runs; `verify` builds with optimization
WATCHED = "-g1", FAST, "-fsanitize=thread"  # -g1: reports of races have line numbers


def macros(plan: Plan) -> cuda_shim.Macros:
    return tuple(plan.macros().items())


@functools.cache
def library(plan: Plan) -> ctypes.CDLL:
    """Return the library of the plan's kernel, built once in a session."""
    exports = cuda_shim.exports((KERNELS / FILE).read_text())
    return cuda_shim.compiled((HERE / "shim.cpp").read_text() + exports, macros(plan), FAST)


def _launch(plan: Plan, blocks: int, runs: Sequence[TrainingRun], launch_data: Packed) -> None:
    shared = plan.shared_bytes(groups_of(runs[0]))
    cuda_shim.start(
        FILE, "train_steps", macros(plan), blocks, shared, launch_data.launch, load=lambda *kernel: library(plan)
    )


def train_steps(plan: Plan, blocks: int, runs: Sequence[TrainingRun], first: int, steps: int) -> torch.Tensor:
    """Run cuda.train_steps on `blocks` blocks of system threads, with memory that is NaN at first."""
    with poisoned():
        launch_data = packed(runs, plan, blocks, first, steps)
    _launch(plan, blocks, runs, launch_data)
    return launch_data.losses


def repeated_launch(
    plan: Plan, blocks: int, runs: Sequence[TrainingRun], first: int, steps: int, times: int
) -> Iterator[torch.Tensor]:
    """Run one packed launch several times, unchanged; yield the losses of each."""
    launch_data = packed(runs, plan, blocks, first, steps)
    for _ in range(times):
        _launch(plan, blocks, runs, launch_data)
        yield launch_data.losses.clone()


def racing_program(plan: Plan, blocks: int, *flags: str, kernels: Path = KERNELS) -> Path:
    """Build races.cpp, a few steps on `blocks` blocks, with the plan's kernel from the folder `kernels`."""
    text = (HERE / "races.cpp").read_text()
    return cuda_shim.build(text, (*macros(plan), ("GRID", blocks)), *flags, kernels=kernels)


def ran(program: Path, batch: int, frames: int) -> subprocess.CompletedProcess:
    """Run a program made of races.cpp."""
    return subprocess.run([program, str(batch), str(frames)], capture_output=True, text=True, timeout=120)


def races(plan: Plan, blocks: int, batch: int, frames: int, kernels: Path = KERNELS) -> str:
    """Return the thread sanitizer's report of a few steps on `blocks` blocks; empty if there is none."""
    program = racing_program(plan, blocks, *WATCHED, kernels=kernels)
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
