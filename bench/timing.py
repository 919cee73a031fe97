"""Interleaved timing, and the rows that measurements become."""

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROUNDS = 25
SAMPLE_SECONDS = 0.02  # a sample repeats the call until it takes about this long
# Before a sample: threads of OpenMP spin for milliseconds after a version that used them, on cores that the next needs.
SETTLE_SECONDS = 0.02
WARM_SECONDS = 0.25  # a call that takes longer needs no other before it to wake what it uses
QUANTILES = (0.1, 0.5, 0.9)
FLUSH_BYTES = 1 << 28  # more than any card's second-level cache


@dataclass(frozen=True)
class Work:
    """What a call must do at least: operations in sums and products, bytes in and out of memory."""

    flop: float
    bytes: float

    def floor(self, ceilings: dict[str, Any], kind: str = "float32") -> float:
        """Seconds below which the machine cannot go: the slower of its arithmetic and its memory.

        On a GPU three products in TF32 may stand for one of float32, and one where `kind` is "tf32". The memory's rate
        is that of the largest measured set that is not larger than this one: a set that fits in a cache is not bound by
        the memory behind it. A set smaller than all measured ones is not bound at all.
        """
        rate = max(ceilings["flop_per_s"], ceilings.get("tf32_flop_per_s", 0.0) / (1 if kind == "tf32" else 3))
        smaller = [bandwidth for size, bandwidth in ceilings["bandwidths"] if size <= self.bytes]
        return max(self.flop / rate, self.bytes / smaller[-1] if smaller else 0.0)


# A floor is made of rates that were measured themselves, each at the fastest tenth of its samples: on a quiet machine
# they come out within 3 % when measured again. What is further above its floor is not fast: something is wrong.
MARGIN = 0.05


def fault(fraction: float) -> str | None:
    """What is wrong with a row that reached such a fraction of its floor's speed."""
    if fraction <= 1 + MARGIN:
        return None
    return (
        f"{fraction:.0%} of the floor, which nothing can reach: the call leaves work out, the floor counts work that it"
        " need not do, or other work slowed the machine while its ceilings were measured"
    )


@dataclass(frozen=True, kw_only=True)
class Row:
    """One version's time. Seconds are of one call; ratio is the best peer's median over this one's."""

    op: str
    version: str
    peer: bool
    device: str
    type: str
    shapes: dict[str, int]
    seconds_10: float
    seconds: float
    seconds_90: float
    gflop_per_s: float
    gbyte_per_s: float
    floor_seconds: float
    fraction_of_floor: float
    ratio_to_best_peer: float | None
    error: float
    fault: str | None = None  # why the row is an error of the benchmark and no time

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    calls: dict[str, Callable[[], Any]], device: str, rounds: int = ROUNDS, cold: bool = False
) -> dict[str, np.ndarray]:
    """Seconds of each call, (rounds,), all versions in turn in every round, so that a slow spell meets them all.

    On a GPU a `cold` call finds nothing in the second-level cache, which a write of FLUSH_BYTES has filled before. That
    write also hides the time that the host takes to launch the call.

    A call that has an attribute `steps` does that many at once; its seconds are of one. One that has `rewind` is set
    back by it, untimed, before each sample.
    """
    seconds = (_cold_seconds_on_gpu if cold else _seconds_on_gpu) if device == "cuda" else _seconds_on_cpu
    repeats, long = {}, set()
    for name, call in calls.items():
        once = [seconds(call, 1)]
        while len(once) < 6 and sum(once) < WARM_SECONDS:
            once.append(seconds(call, 1))
        repeats[name] = max(1, round(SAMPLE_SECONDS / min(once)))
        if min(once) > WARM_SECONDS:
            long.add(name)
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


def rows(
    op: str,
    samples: dict[str, np.ndarray],
    peers: set[str],
    errors: dict[str, float],
    work: Work,
    ceilings: dict[str, Any],
    shapes: dict[str, int],
    device: str,
    kind: str = "float32",
) -> list[Row]:
    """A row for each version's samples, ours first."""
    medians = {name: float(np.median(taken)) for name, taken in samples.items()}
    best = min((medians[name] for name in samples if name in peers), default=None)
    floor = work.floor(ceilings, kind)
    found = []
    for name in sorted(samples, key=lambda name: name in peers):
        low, middle, high = (float(q) for q in np.quantile(samples[name], QUANTILES))
        found.append(
            Row(
                op=op,
                version=name,
                peer=name in peers,
                device=device,
                type=kind,
                shapes=shapes,
                seconds_10=low,
                seconds=middle,
                seconds_90=high,
                gflop_per_s=work.flop / middle / 1e9,
                gbyte_per_s=work.bytes / middle / 1e9,
                floor_seconds=floor,
                fraction_of_floor=floor / middle,
                ratio_to_best_peer=None if best is None else best / middle,
                error=errors[name],
                fault=fault(floor / middle),
            )
        )
    return found


def held_against(row: Row, floor: float) -> Row:
    """The row with another floor."""
    fraction = floor / row.seconds
    return replace(row, floor_seconds=floor, fraction_of_floor=fraction, fault=fault(fraction))


def environment() -> dict[str, Any]:
    """What a row was measured on and with."""
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
        "load": os.getloadavg()[0],  # processes that ran or waited in the minute before: others spoil the figures
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        widest = next((w for w in ("avx512f", "avx2", "sse2") if w in found.get("flags", "").split()), "")
        return f"{found['model name']} (family {found.get('cpu family')}, model {found.get('model')}, {widest})"
    except (OSError, KeyError):
        return platform.processor() or platform.machine()


def _commit() -> str:
    here = Path(__file__).resolve().parent
    run = subprocess.run(["git", "-C", str(here), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run(["git", "-C", str(here), "status", "--porcelain", "-uno"], capture_output=True, text=True)
    return (run.stdout.strip() or "unknown") + ("+changes" if changed.stdout.strip() else "")
