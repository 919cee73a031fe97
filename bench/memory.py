"""How much memory a training step takes, each version in a process of its own.

A process that has imported everything and run nothing forks one child for each measurement. A child builds the version
and takes its first steps, which compile; gives all free memory back to the system; notes what is resident; sets the
system's high-water mark back; and takes three steps more. `peak_bytes` is the high-water mark above what was resident
between steps: what a step allocates. `held_bytes` is what stayed resident after the first steps above what was before
the version was built: weights, state, recordings, buffers kept for the next step, and all compiled code.

python -m partae_fast.bench.memory     reads requests, a JSON list, from standard input and writes answers likewise
"""

import ctypes
import gc
import json
import os
import re
import resource
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

STEPS = 3


def resident_peak(step: Callable[[], object]) -> tuple[int, int]:
    """Bytes of the high-water mark above what is resident before, and that, over STEPS calls."""
    _give_back()
    can_reset = _reset_high_water()
    before = _status("VmRSS")
    for _ in range(STEPS):
        step()
    peak = _status("VmHWM") if can_reset else _largest_ever()
    return max(0, peak - before), before


def device_peak(build: Callable[[], Callable[[], object]]) -> int:
    """Bytes of GPU memory that PyTorch and CuPy take to build a version and step it, above what they held before."""
    gc.collect()
    torch.cuda.empty_cache()
    before, pool = torch.cuda.memory_allocated(), _cupy_pool()
    torch.cuda.reset_peak_memory_stats()
    step = build()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before + max(0, _cupy_pool() - pool)


def _cupy_pool() -> int:
    cupy = sys.modules.get("cupy")
    return int(cupy.get_default_memory_pool().total_bytes()) if cupy else 0


def peaks(requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each request, {"version", "shape", "threads", "form"}: {"peak_bytes", "held_bytes"}, or {"failure"}."""
    if not hasattr(os, "fork"):
        return [{"failure": "needs a system that forks"} for _ in requests]
    command = [sys.executable, "-m", "partae_fast.bench.memory"]
    run = subprocess.run(command, input=json.dumps(list(requests)), capture_output=True, text=True)
    if run.returncode != 0:
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        return [{"failure": last[0]} for _ in requests]
    return json.loads(run.stdout.splitlines()[-1])


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    """In a child."""
    from . import train_step

    torch.set_num_threads(request["threads"])
    before = _status("VmRSS")
    step = train_step.build(request["version"], request["shape"], "cpu", request["form"])
    peak, after = resident_peak(step)
    return {"peak_bytes": peak, "held_bytes": max(0, after - before)}


def _in_child(request: dict[str, Any]) -> dict[str, Any]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.dup2(2, 1)  # what compilers print is no answer
            try:
                answer = _answer(request)
            except Exception as error:  # a version that fails has no figure; the others have
                traceback.print_exc()
                answer = {"failure": f"{type(error).__name__}: {error}".splitlines()[0]}
            with os.fdopen(writing, "w") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else {"failure": "the process ended without a word"}


def _give_back() -> None:
    """Return what was freed to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water() -> bool:
    """Whether Linux let us."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _status(name: str) -> int:
    """Bytes, as Linux tells; elsewhere the most that was ever resident, which can only be too much."""
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return 1024 * int(found[1]) if found else _largest_ever()


def _largest_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    # Imported before the fork, so that their code is in no figure.
    import torch._dynamo
    import torch._inductor.compile_fx  # noqa: F401

    from . import train_step  # noqa: F401

    requests = json.load(sys.stdin)
    answers = [_in_child(request) for request in requests]
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
