"""Conformance and training agreement at each instruction level of this machine.

`python tests/instruction_levels.py` runs every level in its own process, two at a time, and exits with 1 if one fails.
Levels that the processor does not support are skipped; a level that does not take effect fails.
`python tests/instruction_levels.py NAME` runs one level in this process.
"""

import dataclasses
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 2


def _processor() -> str:
    """Return the vendor and flags of the first processor in /proc/cpuinfo, or nothing if there is no such file."""
    file = Path("/proc/cpuinfo")
    return file.read_text().partition("\n\n")[0] if file.exists() else ""


@dataclasses.dataclass(frozen=True)
class Level:
    """The settings of every library, and the level that it should then report."""

    name: str
    threads: int
    numba: str  # NUMBA_CPU_NAME; empty for the host
    features: str  # NUMBA_CPU_FEATURES
    aten: str  # ATEN_CPU_CAPABILITY
    onednn: str  # ONEDNN_MAX_CPU_ISA
    mkl: str  # MKL_ENABLE_INSTRUCTIONS
    vector_bytes: int  # of partae's CPU kernels
    fused: bool  # whether a product and its sum become one instruction
    reports: tuple[str, str]  # text in the logs of oneDNN and MKL
    needs: str  # the required flag in /proc/cpuinfo
    backends: tuple[str, ...] = ("cpu", "eager")  # whose ops are checked

    @property
    def environment(self) -> dict[str, str]:
        variables = {
            "ATEN_CPU_CAPABILITY": self.aten,
            "ONEDNN_MAX_CPU_ISA": self.onednn,
            "MKL_ENABLE_INSTRUCTIONS": self.mkl,
            "OMP_NUM_THREADS": str(self.threads),
        }
        return variables | ({"NUMBA_CPU_NAME": self.numba, "NUMBA_CPU_FEATURES": self.features} if self.numba else {})


SSE = {"aten": "default", "onednn": "SSE41", "mkl": "SSE4_2", "vector_bytes": 16, "fused": False, "needs": "sse4_2"}
SSE |= {"reports": ("SSE4.1", "(Intel(R) SSE4.2)")}
AVX2 = {"aten": "avx2", "onednn": "AVX2", "mkl": "AVX2", "vector_bytes": 32, "fused": True, "needs": "avx2"}
AVX2 |= {"reports": ("AVX2", "(Intel(R) AVX2)")}
AVX512 = {"numba": "", "features": "", "aten": "avx512", "onednn": "AVX512_CORE", "mkl": "AVX512", "vector_bytes": 64}
AVX512 |= {"fused": True, "needs": "avx512f", "reports": ("AVX-512", "(Intel(R) AVX-512)")}
LEVELS = [
    Level("x86-64, 1 thread", 1, "x86-64", "", **SSE),
    Level(
        "x86-64-v3 without FMA, 2 threads",
        *(2, "x86-64-v3", "-fma"),
        **SSE | {"vector_bytes": 32, "needs": "avx2"},
        backends=("cpu",),  # libraries run as in the level above
    ),
    # At the processor's highest level kernels have Numba's default target: they are in the cache after the tests.
    Level("AVX2, 5 threads", 5, "x86-64-v3" if "avx512f" in _processor().split() else "", "", **AVX2),
    Level("AVX-512, 5 threads", 5, **AVX512),
]


def faults(level: Level) -> Iterator[str]:
    """Yield one line per failure at the level of this process."""
    import torch

    torch.set_num_threads(level.threads)  # by default PyTorch uses no more threads than cores
    yield from _not_in_effect(level)
    yield from _conformance(level.backends)
    yield from _training()


def _not_in_effect(level: Level) -> Iterator[str]:
    import numba
    import torch

    from partae_fast.kernels._cpu.simd import VECTOR_BYTES

    multiply_add = numba.njit("float32(float32, float32, float32)", fastmath={"contract"})(lambda a, b, c: a * b + c)
    fused = any("vfmadd" in assembly for assembly in multiply_add.inspect_asm().values())
    (onednn, mkl), maps = level.reports, torch.ones(4, 32, 512)
    with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
        onednn_log = _printed(lambda: torch.nn.functional.conv1d(maps, torch.ones(32, 32, 9)))
    with torch.backends.mkl.verbose(torch.backends.mkl.VERBOSE_ON):
        mkl_log = _printed(lambda: maps[0] @ maps[0].T)
    isa = [line for line in onednn_log.splitlines() if "cpu,isa:" in line]
    product = [line for line in mkl_log.splitlines() if "oneMKL" in line]
    for quantity, expected, value in [
        ("threads", level.threads, torch.get_num_threads()),
        ("ATen's capability", level.aten.upper(), torch.backends.cpu.get_cpu_capability()),
        ("VECTOR_BYTES", level.vector_bytes, VECTOR_BYTES),
        ("fused multiply-add in Numba's code", level.fused, fused),
        ("oneDNN's instruction set", onednn, onednn if any(onednn in line for line in isa) else isa),
        ("MKL's instruction set", mkl, mkl if any(mkl in line for line in product) else product),
    ]:
        if quantity.startswith("MKL") and "GenuineIntel" not in _processor():
            print("  not checked: MKL respects MKL_ENABLE_INSTRUCTIONS on Intel processors only", flush=True)
        elif value != expected:
            yield f"not in effect: {quantity} should be {expected} and is {value}"


def _printed(run: Callable[[], object]) -> str:
    """Return the standard output of libraries during `run()`."""
    sys.stdout.flush()
    with tempfile.TemporaryFile() as file:
        stdout = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            run()
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        file.seek(0)
        return file.read().decode(errors="replace")


def _conformance(backends: tuple[str, ...]) -> Iterator[str]:
    """Check all tiny cases and those near tile sizes, in float32.

    Larger sizes compile the same code.
    """
    import torch

    from partae_fast.conformance.verify import Thoroughness, row
    from partae_fast.kernels import OPS, implementation
    from tests.conformance.conftest import calls_built_once

    brief = Thoroughness(draws=0, times=10, beyond=())
    with calls_built_once():
        for op, op_pass in ((op, op_pass) for op, entry in OPS.items() for op_pass in entry.passes):
            for backend in backends:
                module = implementation(op, backend)
                checked = row(op, op_pass, backend, module, "float32", torch.device("cpu"), brief)
                for where, error in checked.failures.items():
                    yield f"{op_pass}, {backend}, {where}: {error:.2e}"
                if not checked.cases:
                    yield f"{op_pass}, {backend}: no case ran"


def _training() -> Iterator[str]:
    from partae_fast.kernels._cpu import threads
    from tests.training import agreement

    threads.WORTH_WAKING = 0  # split work of any size over threads
    for optimizer, steps in (("adadelta", 50), ("adam", 10)):
        for backend in ("cpu", "eager"):
            errors = agreement.teacher_forced(backend, steps, optimizer)
            for quantity, error in zip(("loss", "update"), errors, strict=True):
                if not error <= 1e-5:
                    yield f"train_steps, {backend}, {optimizer}, {steps} teacher-forced steps: {quantity} {error:.2e}"
            error = agreement.free_running(backend, 10, optimizer)
            if not error <= 1e-4:
                yield f"train_steps, {backend}, {optimizer}, 10 free-running steps: loss {error:.2e}"
    yield from _bits()


def _bits() -> Iterator[str]:
    """Check that threads and resuming do not change the bits of training."""
    import torch

    from partae_fast.training.trainer import Trainer
    from tests.training import agreement

    def losses(count: int, *runs: int) -> list[float]:
        torch.set_num_threads(count)
        system = agreement.PARTITIONED
        trainer = Trainer(system.model(), system.sampler(), backend="cpu")
        return [loss for steps in runs for loss in trainer.run(steps).loss]

    before = torch.get_num_threads()
    expected = losses(1, 20)
    for count, runs in [(2, (20,)), (5, (20,)), (2, (7, 13))]:
        if losses(count, *runs) != expected:
            yield f"train_steps, cpu, {count} threads, runs of {runs} steps: not the bits of one run with 1 thread"
    torch.set_num_threads(before)


def _run(level: Level) -> tuple[Level, int, str, float]:
    started = time.perf_counter()
    command = [sys.executable, __file__, level.name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **level.environment}
    process = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return level, process.returncode, process.stdout, time.perf_counter() - started


def main() -> int:
    if len(sys.argv) > 1:
        (level,) = [level for level in LEVELS if level.name == sys.argv[1]]
        count = 0
        for fault in faults(level):
            count += 1
            print(f"  {level.name}: {fault}", flush=True)
        return min(count, 1)
    if platform.machine() != "x86_64" or not _processor():
        print(f"skipped: there are no levels for {platform.machine()} on {platform.system()}")
        return 0
    flags = _processor().split()
    failed = []
    for level in LEVELS:
        if level.needs not in flags:
            print(f"{level.name}: skipped: this processor has no {level.needs}", flush=True)
    with ThreadPoolExecutor(PROCESSES) as pool:
        for level, code, output, seconds in pool.map(_run, [level for level in LEVELS if level.needs in flags]):
            print(f"{level.name}: {'FAILED' if code else 'passed'} in {seconds:.0f} s\n{output}", end="", flush=True)
            failed += [level.name] * (code != 0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
