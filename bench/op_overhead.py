"""Count what an op costs beside its arithmetic, at the paper's size, and write a table.

  python -m partae_fast.bench.op_overhead [--results FOLDER]     needs valgrind, its headers and g++ for instructions

Counts are the same on a machine with other programs, unlike times. Each op runs in this process, which counts calls of
Python functions, PyTorch ops, launches of kernels, wake-ups of threads and saved tensors, and again in valgrind, which
counts instructions by library. There the kernels use AVX2, because valgrind does not know AVX-512, and one thread.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import saved_tensors_hooks

import partae_fast as pf
from partae_fast.atomic import atomic_path
from partae_fast.kernels._cpu import threads

from . import peers
from .shapes import SHAPES, inputs
from .timing import environment

CALLS, WARM_CALLS = 4, 3
PENALTY = 0.75
RESULTS = Path(__file__).resolve().parent / "results" / "cpu"
LEVEL = {"NUMBA_CPU_NAME": "x86-64-v3", "NUMBA_CPU_FEATURES": "", "ATEN_CPU_CAPABILITY": "avx2"}
LEVEL |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OMP_NUM_THREADS": "1"}

# The columns of instructions, by the library that executes them, and in PyTorch by the function.
KERNELS, PYTHON, NUMPY, NUMBA, TORCH, TORCH_KERNELS, SYSTEM = (
    "kernels",
    "Python",
    "NumPy",
    "Numba's dispatch",
    "PyTorch: bindings, dispatch, autograd",
    "PyTorch: arithmetic",
    "C library",
)
GROUPS = (PYTHON, TORCH, TORCH_KERNELS, NUMPY, NUMBA, SYSTEM, KERNELS)
ARITHMETIC = re.compile(
    r"at::native::.*(kernel|vectorized|loop|copy_impl|sgemm)|mkl_|dnnl|cblas|_omp_fn", re.IGNORECASE
)


def calls_of(version: str = "partae") -> dict[str, Callable[[], Any]]:
    """Return the calls whose cost is counted, by name: ops, and a loss with its gradients."""
    t, pool, frames = inputs(SHAPES[0], "cpu"), SHAPES[0]["P"], SHAPES[0]["N"]
    values, positions = pf.encode(t.x, t.w_enc, pool, t.mean, t.std)
    w_enc, w_dec = t.w_enc.clone().requires_grad_(), t.w_dec.clone().requires_grad_()
    constants = (t.noise_only, t.foreground, PENALTY, pool)
    ours = version == "partae"
    loss: Callable[..., torch.Tensor] = pf.partitioned_loss if ours else peers.model_loss

    def with_gradients() -> None:
        w_enc.grad = w_dec.grad = None
        loss(t.x, t.mean, t.std, w_enc, w_dec, *constants).backward()

    index = positions if ours else positions.long()
    encode, decode = (pf.encode, pf.decode) if ours else (peers.encode, peers.decode)
    return {
        "encode": lambda: encode(t.x, t.w_enc, pool, t.mean, t.std),
        "decode": lambda: decode(values, index, t.w_dec, frames),
        "partitioned_loss": lambda: loss(t.x, t.mean, t.std, t.w_enc, t.w_dec, *constants),
        "partitioned_loss, backward": with_gradients,
    }


def counts_of(call: Callable[[], Any]) -> dict[str, int]:
    """Return the counts of one call, at two threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in range(WARM_CALLS):
            call()
        return dict(_python_calls(call) + _wake_ups(call) + _saved(call) + _ops(call))
    finally:
        torch.set_num_threads(before)


def _python_calls(call: Callable[[], Any]) -> Counter[str]:
    """Count calls of functions and launches of kernels; the backward pass runs in this thread too."""
    counts: Counter[str] = Counter()

    def count(frame: Any, event: str, argument: Any) -> None:
        counts["Python functions"] += event == "call"
        counts["C functions"] += event == "c_call"
        counts["kernel launches"] += event == "call" and frame.f_code is threads.spread.__code__

    profiler = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(profiler)
    return counts


def _wake_ups(call: Callable[[], Any]) -> Counter[str]:
    """Count the tasks that threads besides the caller get."""
    counts: Counter[str] = Counter()
    hand_out = threads._workers.hand_out

    def counted(task: Callable[[], None], count: int) -> None:
        counts["wake-ups"] += count
        hand_out(task, count)

    threads._workers.hand_out = counted
    try:
        call()
    finally:
        del threads._workers.hand_out
    return counts


def _saved(call: Callable[[], Any]) -> Counter[str]:
    """Count the tensors that are saved for the backward pass, and their bytes."""
    counts: Counter[str] = Counter()

    def save(tensor: torch.Tensor) -> torch.Tensor:
        counts["saved tensors"] += 1
        counts["saved bytes"] += tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(save, lambda tensor: tensor):
        call()
    return counts


def _ops(call: Callable[[], Any]) -> Counter[str]:
    """Count the ops that PyTorch's dispatcher runs, nested ones too."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        call()
    names = [event.name for event in profile.events() or []]
    return Counter({"PyTorch ops": sum(name.startswith(("aten::", "partae::")) for name in names)})


MARKS = """
#include <valgrind/callgrind.h>
extern "C" void begin() { CALLGRIND_ZERO_STATS; CALLGRIND_START_INSTRUMENTATION; }
extern "C" void end(const char* name) { CALLGRIND_STOP_INSTRUMENTATION; CALLGRIND_DUMP_STATS_AT(name); }
"""


def instructions(folder: Path, version: str) -> dict[str, dict[str, float]]:
    """Return the instructions of one call, by the name of the call and by group.

    Raises RuntimeError if valgrind or g++ fails.
    """
    marks, output = folder / "marks.so", folder / f"{version}.out"
    source = folder / "marks.cpp"
    source.write_text(MARKS)
    environment = {**os.environ, **LEVEL}
    child = [sys.executable, "-m", "partae_fast.bench.op_overhead", "--child", version, str(marks)]
    _run(["g++", "-O1", "-shared", "-fPIC", "-o", str(marks), str(source)], environment)
    _run(child, environment)  # without valgrind: compiles the kernels
    tool = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--dump-line=no", f"--callgrind-out-file={output}"]
    _run([*tool, *child], environment)
    found = {}
    for file in folder.glob(f"{output.name}.*"):
        text = file.read_text(errors="replace")
        trigger = re.search(r"^desc: Trigger: Client Request: (.+)$", text, re.MULTILINE)
        if trigger:
            found[trigger[1]] = {group: count / CALLS for group, count in grouped(text.splitlines()).items()}
    return found


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.strip()[-500:]}")


def _child(version: str, marks: str) -> None:
    """Make the calls between marks, for valgrind."""
    library = ctypes.CDLL(marks)
    for name, call in calls_of(version).items():
        for _ in range(WARM_CALLS):
            call()
        library.begin()
        for _ in range(CALLS):
            call()
        library.end(name.encode())


def grouped(lines: list[str]) -> Counter[str]:
    """Return the instructions of a callgrind file by group, each counted in the function that executed it."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    library = function = ""
    in_callee = False
    for line in lines:
        kind, _, value = line.partition("=")
        if kind in ("ob", "fn", "cob", "cfn", "cfi", "fl", "fi", "fe"):
            name = _named(kind.removeprefix("c")[:2], value, names)
            library, function = (name, function) if kind == "ob" else (library, name if kind == "fn" else function)
        elif kind == "calls":
            in_callee = True  # the next line has the instructions of the callee, which its own lines have too
        elif line[:1] in "0123456789+-*" and line:
            if not in_callee:
                counts[_group(library, function)] += int(line.split()[1])
            in_callee = False
    return counts


def _named(kind: str, value: str, names: dict[str, str]) -> str:
    """Return a name; callgrind writes it once, as "(number) name", and then "(number)"."""
    number, _, name = value.partition(" ")
    if name:
        names[kind + number] = name
    return names.get(kind + number, value)


def _group(library: str, function: str) -> str:
    file = Path(library).name
    if library in ("", "???"):
        return KERNELS
    if "numba" in library:
        return NUMBA
    if "numpy" in library:
        return NUMPY
    if "torch" in library or file.startswith(("libtorch", "libc10", "libgomp")):
        return TORCH_KERNELS if ARITHMETIC.search(function) else TORCH
    if file.startswith(("libpython", "python")) or "lib-dynload" in library:
        return PYTHON
    return SYSTEM


COUNTS = (
    "Python functions",
    "C functions",
    "PyTorch ops",
    "kernel launches",
    "wake-ups",
    "saved tensors",
    "saved bytes",
)


def table(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    env = report["environment"]
    sizes = " ".join(f"{name} {size}" for name, size in SHAPES[0].items())
    versions = ", ".join(f"{name} {version}" for name, version in env["versions"].items())
    lines = [
        f"Counted {env['date']} at commit {env['commit']} on {env['processor']}; {versions}; {sizes}, float32.",
        "",
        f"One call, at 2 threads. {CALLS_OF_TABLE}",
        "",
        "| version | call | " + " | ".join(COUNTS) + " |",
        "|---|---|" + "---:|" * len(COUNTS),
    ]
    for version, calls in report["counts"].items():
        for name, counts in calls.items():
            lines.append(f"| {version} | {name} | " + " | ".join(f"{counts.get(c, 0):,}" for c in COUNTS) + " |")
    if report["instructions"]:
        lines += [
            "",
            "Thousands of instructions of one call, at 1 thread with AVX2, by the library that executed them. Those of"
            " kernels are the arithmetic of partae; PyTorch's arithmetic includes copies.",
            "",
            "| version | call | total | beside arithmetic | " + " | ".join(GROUPS) + " |",
            "|---|---|---:|---:|" + "---:|" * len(GROUPS),
        ]
    for version, calls in report["instructions"].items():
        for name, groups in calls.items():
            total = sum(groups.values())
            beside = total - groups.get(KERNELS, 0) - groups.get(TORCH_KERNELS, 0)
            cells = [total, beside, *(groups.get(group, 0) for group in GROUPS)]
            lines.append(f"| {version} | {name} | " + " | ".join(f"{cell / 1e3:,.0f}" for cell in cells) + " |")
    return "\n".join(lines)


CALLS_OF_TABLE = (
    "Launches are those of partae's CPU kernels; a wake-up is a task for another thread. PyTorch ops are those that its"
    " dispatcher ran, nested ones too. Saved tensors are kept for the backward pass."
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of op_overhead.json and .md")
    parser.add_argument("--counts-only", action="store_true", help="leave out the instructions")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.child:
        _child(*args.child)
        return
    versions = {"partae": "partae", "PyTorch eager": "eager"}
    report: dict[str, Any] = {
        "environment": environment(),
        "counts": {n: {c: counts_of(f) for c, f in calls_of(v).items()} for n, v in versions.items()},
        "instructions": {},
    }
    if not args.counts_only:
        if not (shutil.which("valgrind") and shutil.which("g++")):
            raise SystemExit("valgrind or g++ is not installed; install both, or give --counts-only")
        with tempfile.TemporaryDirectory() as folder:
            report["instructions"] = {n: instructions(Path(folder), v) for n, v in versions.items()}
    args.results.mkdir(parents=True, exist_ok=True)
    with atomic_path(args.results / "op_overhead.json") as file:
        file.write_text(json.dumps(report, indent=1) + "\n")
    with atomic_path(args.results / "op_overhead.md") as file:
        file.write_text(table(report) + "\n")
    print(table(report))


if __name__ == "__main__":
    main()
