"""Interleaved timing of several versions, and the rows of results."""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROUNDS = 25
SAMPLE_SECONDS = 0.02  # a sample repeats the call until it takes about this long
# Pause before a sample. After a version that uses OpenMP, its threads spin for milliseconds on cores that the next
# needs.
SETTLE_SECONDS = 0.02
WARM_SECONDS = 0.25  # a call that takes longer needs no warm-up call before a sample
QUANTILES = (0.1, 0.5, 0.9)
RECHECKS = 3  # calls of each version in the check after the timing, about
FLUSH_BYTES = 1 << 28  # more than the second-level cache of any GPU


@dataclass(frozen=True)
class Work:
    """The minimum work of a call."""

    flop: float  # additions and multiplications
    bytes: float  # read from memory and written to it

    def floor(self, ceilings: dict[str, Any], kind: str = "float32") -> float:
        """Return the shortest possible time in seconds, of the arithmetic or of the memory traffic.

        On a GPU, three products in TF32 may replace one in float32, or one if `kind` is "tf32". The bandwidth is that
        of the largest measured array that is not larger than `bytes`, because data that fit in a cache are not limited
        by the memory behind it. Data smaller than all measured arrays have no limit.
        """
        rate = max(ceilings["flop_per_s"], ceilings.get("tf32_flop_per_s", 0.0) / (1 if kind == "tf32" else 3))
        smaller = [bandwidth for size, bandwidth in ceilings["bandwidths"] if size <= self.bytes]
        return max(self.flop / rate, self.bytes / smaller[-1] if smaller else 0.0)


# The rates of a floor are measured too, each at the 10 % quantile of its samples. On a machine without other programs,
# a second measurement is within 3 % of the first. A time that is shorter than the floor by more than this is an error.
MARGIN = 0.05


def fault(fraction: float) -> str | None:
    """Return what is wrong with a row whose floor is this fraction of its time; None if nothing is wrong."""
    if fraction <= 1 + MARGIN:
        return None
    return (
        f"{fraction:.0%} of the floor, which is impossible: the call does less than the work, the floor counts work"
        " that is not needed, or other programs slowed the machine while its ceilings were measured"
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """The results of one version. Times are seconds of one call."""

    op: str
    op_pass: str
    version: str
    peer: bool
    device: str
    type: str
    shapes: dict[str, int]
    samples: int
    seconds_10: float
    seconds: float
    seconds_90: float
    gflop_per_s: float | None
    gbyte_per_s: float | None
    floor_seconds: float | None
    fraction_of_floor: float | None  # floor divided by the median
    ratio_to_best_peer: float | None  # the best peer's median divided by this one
    error: float  # the largest deviation from float64
    fault: str | None  # why the time cannot be correct
    about: dict[str, Any]  # additional entries of this benchmark

    def to_dict(self) -> dict[str, Any]:
        values = asdict(self)
        about = values.pop("about")
        return {"op": values.pop("op"), "pass": values.pop("op_pass"), **values, **about}


def measure(
    calls: dict[str, Callable[[], Any]],
    device: str,
    rounds: int = ROUNDS,
    cold: bool = False,
    fitting: Callable[[int, float, float], int] = lambda rounds, seconds, reserve: rounds,
) -> dict[str, np.ndarray]:
    """Return the seconds of each call, (rounds,).

    `fitting` returns how many rounds to make, from `rounds`, the expected seconds of a round, and those of RECHECKS
    calls of each version, which follow.

    In every round each version is called in turn, so that a slow spell of the machine affects all of them.

    On a GPU, `cold` flushes the second-level cache before each call by a write of FLUSH_BYTES. The write also hides the
    time that the host takes to launch the call.

    If a call has an attribute `steps`, it makes that many steps, and the seconds are those of one step. If it has a
    method `rewind`, that is called, untimed, before each sample.
    """
    seconds = (_cold_seconds_on_gpu if cold else _seconds_on_gpu) if device == "cuda" else _seconds_on_cpu
    repeats, long, shortest = {}, set(), {}
    for name, call in calls.items():
        once = [seconds(call, 1)]
        while len(once) < 6 and sum(once) < WARM_SECONDS:
            once.append(seconds(call, 1))
        shortest[name] = min(once)
        repeats[name] = max(1, round(SAMPLE_SECONDS / min(once)))
        if min(once) > WARM_SECONDS:
            long.add(name)
    round_seconds = sum(SETTLE_SECONDS + (repeats[n] + (n not in long)) * once for n, once in shortest.items())
    rounds = fitting(rounds, round_seconds, RECHECKS * sum(shortest.values()))
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            getattr(call, "rewind", lambda: None)()
            time.sleep(SETTLE_SECONDS)
            if name not in long:
                call()
            samples[name].append(seconds(call, repeats[name]))
    return {name: np.array(values) / getattr(calls[name], "steps", 1) for name, values in samples.items()}


def _seconds_on_cpu(call: Callable[[], Any], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return (time.perf_counter() - start) / repeats


def _seconds_on_gpu(call: Callable[[], Any], repeats: int) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    start.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) * 1e-3 / repeats


def _cold_seconds_on_gpu(call: Callable[[], Any], repeats: int) -> float:
    events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    filler = torch.empty(FLUSH_BYTES // 4, device="cuda")
    torch.cuda.synchronize()
    for start, end in events:
        filler.zero_()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return sum(start.elapsed_time(end) for start, end in events) * 1e-3 / repeats


def row(
    samples: np.ndarray, work: Work | None, ceilings: dict[str, Any], best_peer: float | None, **fields: Any
) -> Row:
    """Return the row of a version, which compares its samples with the floor and the best peer's median."""
    low, middle, high = (float(q) for q in np.quantile(samples, QUANTILES))
    floor = work.floor(ceilings, fields["type"]) if work else None
    return Row(
        samples=len(samples),
        seconds_10=low,
        seconds=middle,
        seconds_90=high,
        gflop_per_s=work and work.flop / middle / 1e9,
        gbyte_per_s=work and work.bytes / middle / 1e9,
        floor_seconds=floor,
        fraction_of_floor=floor and floor / middle,
        ratio_to_best_peer=best_peer and best_peer / middle,
        fault=None if floor is None else fault(floor / middle),
        **fields,
    )


def environment() -> dict[str, Any]:
    """Return the machine, the versions, the commit, the date and the load, for the report."""
    versions = {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__}
    for package in ("numba", "triton", "cupy"):
        try:
            versions[package] = __import__(package).__version__
        except ImportError:
            versions[package] = "absent"
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "versions": versions,
        "load": os.getloadavg()[0],  # processes that ran or waited in the last minute; other programs distort the times
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        widest = next((w for w in ("avx512f", "avx2", "sse2") if w in entries.get("flags", "").split()), "")
        return f"{entries['model name']} (family {entries.get('cpu family')}, model {entries.get('model')}, {widest})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).resolve().parent
    run = subprocess.run(["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(["git", "-C", str(here), "status", "--porcelain", "-uno"], capture_output=True, text=True)
    return (run.stdout.strip() or "unknown") + ("+changes" if changed.stdout.strip() else "")
