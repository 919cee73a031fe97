"""Measure how much memory a training step takes.

`peak_bytes` is the high-water mark above what is resident between steps: what a step allocates. `held_bytes` is what
stays resident after the first steps above what was resident before the version was built: weights, state, recordings,
buffers kept for the next step, and compiled code. `peaks` measures each version in a process of its own.
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
    """Return the bytes of the high-water mark above the resident memory, and the resident memory, over STEPS calls."""
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
    """Return {"peak_bytes", "held_bytes"}, or {"failure"}, for each {"version", "shape", "threads", "form"}."""
    if not hasattr(os, "fork"):
        return [{"failure": "needs a system that forks"} for _ in requests]
    command = [sys.executable, "-m", "partae_fast.bench.step_memory"]
    run = subprocess.run(command, input=json.dumps(list(requests)), capture_output=True, text=True)
    if run.returncode != 0:
        last = run.stderr.strip().splitlines()[-1:] or ["no message"]
        return [{"failure": last[0]} for _ in requests]
    return json.loads(run.stdout.splitlines()[-1])


def return_freed_memory() -> None:
    """Return freed memory to the system."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _reset_high_water() -> bool:
    """Reset the high-water mark of this process; returns whether Linux allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def status_bytes(name: str) -> int:
    """Return an entry of /proc/self/status in bytes; on other systems than Linux the largest resident size so far."""
    try:
        entry = re.search(rf"^{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        entry = None
    return 1024 * int(entry[1]) if entry else _largest_ever()


def _largest_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
