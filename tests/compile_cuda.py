"""Compiles the CUDA C kernels ahead of time, with no GPU: `python tests/compile_cuda.py`.

For each model size that matters, a run in each precision, a population, and both with all extras, prints the plan,
registers and stack a thread, shared memory a block, and with --instructions what the machine code is made of; then the
same of the kernels of single ops. The first size is compiled for every architecture, and the others for one each, in
turn; with --all also for the others, which takes twice as long. Exits with 1 where a kernel has a stack: it spills
registers to memory.

NVRTC does it where it is installed, as it does where there is a GPU (pip install nvidia-cuda-nvrtc), else nvcc, with
the options that CuPy passes. `--compiler nvcc` or the path of a libnvrtc.so takes another version. The figures are read
by the `cuobjdump` that comes with Triton.
"""

import argparse
import ctypes
import functools
import importlib.util
import math
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from compile_triton import Usage, figures, usage_of

from partae_fast.kernels._cuda.common import GPU, assumed_limits, options, running_on_cpu, source
from partae_fast.kernels.decode import cuda as decode
from partae_fast.kernels.encode import cuda as encode
from partae_fast.kernels.partitioned_loss import cuda as partitioned_loss
from partae_fast.kernels.train_steps.cuda import EXTRAS, PRECISIONS, Plan, plan, why_not

# Compute capability, shared memory that a block may have, multiprocessors: of an A100, an RTX A6000, an L40S, an H200,
# a B200 and an RTX 5090.
CARDS = {
    arch: assumed_limits(arch, *sizes)
    for arch, sizes in {
        80: (166912, 108),
        86: (101376, 84),
        89: (101376, 142),
        90: (232448, 132),
        100: (232448, 148),
        120: (101376, 170),
    }.items()
}
# What CuPy adds to the options of a RawModule, apart from folders of headers, which the kernels do not include.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
SIZES = {  # B, N, H, K, M, P
    "B16 N512 H32 K32 M9 P16": (16, 512, 32, 32, 9, 16),
    "B16 N320 H64 K32 M9 P4": (16, 320, 64, 32, 9, 4),
    "B16 N320 H128 K32 M9 P4": (16, 320, 128, 32, 9, 4),
    "B16 N512 H128 K128 M9 P16": (16, 512, 128, 128, 9, 16),
    "B16 N512 H64 K64 M9 P16": (16, 512, 64, 64, 9, 16),
    "B4 N100 H129 K33 M5 P10": (4, 100, 129, 33, 5, 10),
    "B16 N512 H8 K8 M33 P1": (16, 512, 8, 8, 33, 1),
}
POPULATION = 60  # runs


COMPILER = "PARTAE_CUDA_COMPILER"  # an environment variable: "nvcc", or the path of a libnvrtc.so


def nvrtc() -> ctypes.CDLL | None:
    """The library that COMPILER names, that of the nvidia-cuda-nvrtc package, or that of the system."""
    if compiler := os.environ.get(COMPILER):
        return None if compiler == "nvcc" else ctypes.CDLL(compiler)
    package = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in package.submodule_search_locations or ()] if package else []
    found = [str(file) for folder in folders for file in folder.glob("*/lib/libnvrtc.so.*")]
    for name in (*sorted(found), "libnvrtc.so"):
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def cubin(text: str, macros: Mapping[str, int | str], architecture: int) -> bytes:
    """Machine code for one architecture; RuntimeError with the compiler's words where the text is wrong."""
    library = nvrtc()
    if library is None:
        return _cubin_by_nvcc(text, macros, architecture)
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernel.cu", 0, None, None)
    flags = (*options(macros), CUPY_OPTIONS[0], f"-arch=sm_{architecture}", *CUPY_OPTIONS[1:])  # in CuPy's order
    encoded = [flag.encode() for flag in flags]
    status = library.nvrtcCompileProgram(program, len(encoded), (ctypes.c_char_p * len(encoded))(*encoded))
    read, measure = (
        (library.nvrtcGetProgramLog, library.nvrtcGetProgramLogSize)
        if status
        else (
            library.nvrtcGetCUBIN,
            library.nvrtcGetCUBINSize,
        )
    )
    measure(program, ctypes.byref(size))
    result = ctypes.create_string_buffer(size.value)
    read(program, result)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if status:
        raise RuntimeError(result.value.decode())
    return result.raw


def _cubin_by_nvcc(text: str, macros: Mapping[str, int | str], architecture: int) -> bytes:
    compiler = shutil.which("nvcc")
    if compiler is None:
        raise RuntimeError("neither NVRTC nor nvcc is here; pip install nvidia-cuda-nvrtc")
    with tempfile.TemporaryDirectory() as folder:
        file, result = Path(folder) / "kernel.cu", Path(folder) / "kernel.cubin"
        file.write_text(text)
        flags = f"-arch=sm_{architecture}", *options(macros), CUPY_OPTIONS[0]  # the other is NVRTC's
        command = [compiler, "-cubin", *flags, str(file), "-o", str(result)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return result.read_bytes()


def usage(text: str, macros: Mapping[str, int | str], architecture: int, shared: int) -> Usage:
    """What a kernel takes, with `shared` bytes of dynamic shared memory."""
    return usage_of(cubin(text, macros, architecture), shared)


def compile_plan(cut: Plan, architecture: int, groups: int = 1) -> Usage:
    text = source("train_steps/train_steps.cuh")
    return usage(text, cut.macros(), architecture, cut.shared_bytes(groups))


@dataclass(frozen=True)
class OpKernel:
    """A kernel of a single op, as its launcher asks for it."""

    path: str
    name: str
    macros: tuple[tuple[str, int | str], ...]
    shared: int

    def compile(self, architecture: int) -> Usage:
        return usage_of(cubin(source(self.path), dict(self.macros), architecture), self.shared, self.name)


def op_kernels(label: str) -> list[OpKernel]:
    """The kernels of single ops for one of SIZES, from launches that are recorded and not run."""
    _, frames, bins, latents, taps, pool = SIZES[label]
    launched: dict[OpKernel, None] = {}

    def start(path, name, macros, blocks, shared, argument):
        launched[OpKernel(path, name, macros, shared)] = None

    x, windows = torch.empty(2, frames, bins), math.ceil(frames / pool)
    w_enc, w_dec = torch.empty(taps, bins, latents), torch.empty(taps, latents, bins)
    values, mask = torch.empty(2, windows, latents), torch.empty(latents)
    positions, labels = torch.empty(2, windows, latents, dtype=torch.int32), torch.empty(2)
    mean = std = torch.ones(bins)
    with running_on_cpu(replace(GPU, start=start)):
        for precision in encode.PRECISIONS:
            encode.encode(x, w_enc, pool, mean, std, precision=precision)
        encode.encode_backward(values, x, w_enc, values, positions, pool, mean, std, True, True)
        decode.decode(values, positions, w_dec, frames)
        decode.decode_backward(x, values, positions, w_dec, True, True)
        partitioned_loss.partitioned_loss(x, x, values, labels, mask, 1.0)
    return list(launched)


def targets(everything: bool) -> Iterator[tuple[str, int]]:
    """(size, architecture) of all that is compiled."""
    for number, (label, shape) in enumerate(SIZES.items()):
        in_turn = [*CARDS][number % len(CARDS) :] + [*CARDS][: number % len(CARDS)]
        able = [card for card in in_turn if not why_not(shape, CARDS[card], 1, 1)]
        for architecture in CARDS if everything or number == 0 else able[:1]:
            yield label, architecture


def op_tasks(everything: bool) -> Iterator[tuple[str, int, OpKernel]]:
    """(size, architecture, kernel) of all that is compiled; the kernels that no size changes, once."""
    seen = set()
    for label, architecture in targets(everything):
        for kernel in op_kernels(label):
            if (architecture, kernel) not in seen:
                seen.add((architecture, kernel))
                yield label, architecture, kernel


def op_row(task: tuple[str, int, OpKernel], instructions: bool) -> tuple[str, bool]:
    """A line of the table, and whether the kernel spills."""
    label, architecture, kernel = task
    found = kernel.compile(architecture)
    precision = dict(kernel.macros).get("PRECISION")  # encode has it
    name = kernel.name if precision is None else f"{kernel.name} {encode.PRECISIONS[int(precision)]}"
    return f"{label:27}sm_{architecture:<10}{name:56}" + figures(found, instructions), found.stack > 0


def tasks(everything: bool) -> list[tuple[str, int, int, Plan | None]]:
    """(size, architecture, runs, plan) of all that is compiled; no plan where the card cannot."""
    found = []
    for label, architecture in targets(everything):
        shape, limits = SIZES[label], CARDS[architecture]
        if why_not(shape, limits, 1, 1):
            found.append((label, architecture, 1, None))
            continue
        cuts = [(1, plan(shape, limits, precision=precision)) for precision in PRECISIONS]
        cuts.append((POPULATION, plan(shape, limits, 1, POPULATION)))
        cuts += [(runs, plan(shape, limits, 2, runs, extras=EXTRAS)) for runs in (1, POPULATION)]
        found += [(label, architecture, runs, cut) for runs, cut in cuts if cut is not None]
    return found


def row(task: tuple[str, int, int, Plan | None], instructions: bool) -> tuple[str, bool]:
    """A line of the table, and whether the kernel spills."""
    label, architecture, runs, cut = task
    begin = f"{label:27}sm_{architecture:<4}{runs:4}  "
    if cut is None:
        return begin + "refused: " + str(why_not(SIZES[label], CARDS[architecture], 1, runs)), False
    found = compile_plan(cut, architecture, 2 if cut.extras else 1)
    how = (
        f"{cut.precision:7}own {cut.own:2} frames {cut.frames} slices {cut.slices} split {cut.split} lanes {cut.lanes}"
        f"{' extras' if cut.extras else '':7}"
    )
    return begin + how + figures(found, instructions), found.stack > 0


def main(instructions: bool, everything: bool) -> int:
    spilled = 0
    print(f"{'size':27}{'arch':7}runs  {'plan':56}{'registers':>10}{'shared':>8}{'stack':>6}")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for rows in (
            pool.map(functools.partial(row, instructions=instructions), tasks(everything)),
            pool.map(functools.partial(op_row, instructions=instructions), op_tasks(everything)),
        ):
            for line, spills in rows:
                spilled += spills
                print(line, flush=True)
    print(f"{spilled} kernels spill" if spilled else "no kernel spills")
    return 1 if spilled else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--instructions", action="store_true", help="list what the machine code is made of")
    parser.add_argument("--all", action="store_true", help="compile every size for every architecture")
    parser.add_argument("--compiler", help='"nvcc", or the path of a libnvrtc.so')
    arguments = parser.parse_args()
    if arguments.compiler:
        os.environ[COMPILER] = arguments.compiler  # worker processes inherit it
    sys.exit(main(arguments.instructions, arguments.all))
