"""Measure the memory of a training step.

`peak_bytes` is what a step allocates: the peak of the resident memory during steps, less the resident memory between
them. `held_bytes` is what a version keeps: the resident memory after the first steps, less that before the version was
built. It includes weights, optimizer state, recordings, buffers for the next step and compiled code.
"""

import ctypes
import gc
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

STEPS = 3


def resident_peak(step: Callable[[], object]) -> tuple[int, int]:
    """Return the peak above the resident memory during STEPS calls, and the resident memory, in bytes."""
    return_freed_memory()
    can_reset = _reset_high_water()
    before = status_bytes("VmRSS")
    for _ in range(STEPS):
        step()
    peak = status_bytes("VmHWM") if can_reset else _largest_ever()
    return max(0, peak - before), before


def device_peak(build: Callable[[], Callable[[], object]]) -> int:
    """Return the bytes of GPU memory that PyTorch and CuPy add to build a version and take its steps."""
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
    """Return {"peak_bytes", "held_bytes"} or {"failure"} for each request, measured in its own process.

    A request is {"version", "shape", "threads", "form"}.
    """
    if not hasattr(os, "fork"):
        return [{"failure": "memory is measured only on systems with os.fork"} for _ in requests]
    command = [sys.executable, "-m", "partae_fast.bench.step_memory"]
    run = subprocess.run(command, input=json.dumps(list(requests)), capture_output=True, text=True)
    if run.returncode != 0:
        last_line = run.stderr.strip().splitlines()[-1:] or ["no message"]
        return [{"failure": last_line[0]} for _ in requests]
    return json.loads(run.stdout.splitlines()[-1])


def return_freed_memory() -> None:
    """Give memory that was freed back to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water() -> bool:
    """Reset the peak memory of this process; return whether the system supports it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def status_bytes(name: str) -> int:
    """Return an entry of /proc/self/status in bytes; without that file, the peak resident memory so far."""
    try:
        entry = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        entry = None
    return 1024 * int(entry[1]) if entry else _largest_ever()


def _largest_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
