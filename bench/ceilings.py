"""What this machine can do, measured in the same run as the versions that are held against it."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from partae_fast.kernels._cpu.jit import kernel
from partae_fast.kernels._cpu.threads import next_unit, spread, wait_until_done
from partae_fast.kernels._cuda.common import Kernel
from partae_fast.kernels.tf32 import tf32

from .timing import measure

ENCODE = 8192, 288, 32  # B*N, M*H and K of the paper's configuration: the matrix product that its encode is
BARRIERS = 1000
ROUNDS = 20
# Bytes of the sets whose bandwidth is measured. Those of a GPU lie in no cache: a smaller one takes less than a launch.
CPU_SETS = tuple(1 << bits for bits in (20, 22, 24, 26, 28))
GPU_SETS = (1 << 28, 1 << 32)
TAKEN = 0.1  # the quantile taken: a ceiling is what the machine reaches when nothing disturbs it


def ceilings(device: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """What the machine reaches, each by whatever does it best.

    flop_per_s          float32: the best of `rates`: a matrix product of 1024 (8192 on a GPU), one of the shape that
                        encode has, and on the CPU register-blocked dot products of runs that stay in the first cache,
                        or the same on one thread
    bandwidths          bytes a second over a set of so many bytes, [size, rate] by size: a copy, read and written, or a
                        sum, read, whichever is faster; never below the rate of a larger set
    bytes_per_s         that of the largest set, which lies in no cache
    barrier_seconds     every thread (every block of a GPU) waits for all others
    cache_bytes         the last-level cache
    one_thread_flop_per_s                                                       CPU alone
    tf32_flop_per_s, launch_seconds, graph_node_seconds                         GPU alone
    skipped             what could not be measured, and why
    """
    return _of_gpu(rounds) if device == "cuda" else _of_cpu(rounds)


def faster(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements of the ceilings the higher rates and the shorter times."""
    limits: dict[str, Any] = {}
    for name, value in first.items():
        if name == "rates":
            limits[name] = {of: max(rate, second[name][of]) for of, rate in value.items()}
        elif name == "bandwidths":
            pairs = zip(value, second[name], strict=True)
            limits[name] = [[size, max(rate, again)] for (size, rate), (_, again) in pairs]
        elif name == "skipped":
            limits[name] = value
        else:
            limits[name] = (min if name.endswith("_seconds") else max)(value, second[name])
    return limits


def _of_cpu(rounds: int) -> dict[str, Any]:
    rates = _rates("cpu", 1024, {"dot products": (_dot_products(), _dot_flop())}, rounds)
    bandwidths = _bandwidths("cpu", CPU_SETS, rounds)
    seconds = _quick({"barriers": _thread_barriers}, "cpu", rounds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = _rates("cpu", 1024, {"dot products": (_dot_products(), _dot_flop())}, rounds)
    finally:
        torch.set_num_threads(threads)
    return {
        "rates": rates,
        # Where other work runs, one thread may be faster than all that should work together.
        "flop_per_s": max(*rates.values(), *alone.values()),
        "one_thread_flop_per_s": max(alone.values()),
        "bandwidths": bandwidths,
        "bytes_per_s": bandwidths[-1][1],
        "barrier_seconds": seconds["barriers"] / BARRIERS,
        "cache_bytes": _last_cache(),
        "skipped": {},
    }


def _of_gpu(rounds: int) -> dict[str, Any]:
    bandwidths = _bandwidths("cuda", GPU_SETS, rounds)
    seconds = _quick({"launch": _launch(), "replay of 10 launches": _replay()}, "cuda", rounds)
    with tf32(False):
        rates = _rates("cuda", 8192, {}, rounds)
    with tf32(True):
        tf32_rates = _rates("cuda", 8192, {}, rounds)
    limits: dict[str, Any] = {
        "rates": rates,
        "flop_per_s": max(rates.values()),
        "tf32_flop_per_s": max(tf32_rates.values()),
        "bandwidths": bandwidths,
        "bytes_per_s": bandwidths[-1][1],
        "launch_seconds": seconds["launch"],
        "graph_node_seconds": seconds["replay of 10 launches"] / 10,
        "barrier_seconds": 0.0,
        "cache_bytes": torch.cuda.get_device_properties().L2_cache_size,
        "skipped": {},
    }
    try:
        limits["barrier_seconds"] = _quick({"barriers": _grid_barriers()}, "cuda", rounds)["barriers"] / BARRIERS
    except Exception as error:  # whatever the driver or the compiler says: the other ceilings stand
        limits["skipped"]["barrier"] = f"{type(error).__name__}: {error}"
    return limits


def _quick(calls: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    return {name: float(np.quantile(s, TAKEN)) for name, s in measure(calls, device, rounds=rounds).items()}


def _rates(
    device: str, size: int, others: dict[str, tuple[Callable[[], object], float]], rounds: int
) -> dict[str, float]:
    """Operations a second, by what does them: square and tall matrix products, and `others` (call, operations)."""
    calls, flop = {}, {}
    for m, k, n in ((size, size, size), ENCODE):
        a, b, out = (torch.randn(*s, device=device) for s in ((m, k), (k, n), (m, n)))
        name = f"product {m} x {k} x {n}"
        calls[name], flop[name] = (lambda a=a, b=b, out=out: torch.mm(a, b, out=out)), 2.0 * m * k * n
    for name, (call, operations) in others.items():
        calls[name], flop[name] = call, operations
    return {name: flop[name] / seconds for name, seconds in _quick(calls, device, rounds).items()}


def _bandwidths(device: str, sizes: tuple[int, ...], rounds: int) -> list[list[float]]:
    """[size, bytes a second] for sets of so many bytes, the smallest first."""
    limits: list[list[float]] = []
    for size in sorted(sizes, reverse=True):
        source = torch.randn(size // 4, device=device)
        half, other = source.chunk(2)
        seconds = _quick({"copy": lambda a=half, b=other: b.copy_(a), "sum": lambda a=source: a.sum()}, device, rounds)
        rate = size / min(seconds.values())
        limits.insert(0, [size, max([rate, *(larger for _, larger in limits)])])
    return limits


DOT_UNITS, DOT_REPEATS = 64, 16
DOT_FRAMES, DOT_FILTERS, DOT_LENGTH = 16, 8, 288  # 28 KB in all


@kernel
def _dots(counters, out, frames, filters):
    unit = next_unit(counters, -1)
    while unit >= 0:
        for repeat in range(DOT_REPEATS):
            for i in range(0, frames.shape[0], 4):
                for k in range(0, filters.shape[0], 4):
                    a, b, c, d = frames[i], frames[i + 1], frames[i + 2], frames[i + 3]
                    p, q, r, s = filters[k], filters[k + 1], filters[k + 2], filters[k + 3]
                    ap = aq = ar = as_ = bp = bq = br = bs = frames[0, 0]
                    cp = cq = cr = cs = dp = dq = dr = ds = frames[0, 0]
                    for j in range(frames.shape[1]):
                        ap += a[j] * p[j]
                        aq += a[j] * q[j]
                        ar += a[j] * r[j]
                        as_ += a[j] * s[j]
                        bp += b[j] * p[j]
                        bq += b[j] * q[j]
                        br += b[j] * r[j]
                        bs += b[j] * s[j]
                        cp += c[j] * p[j]
                        cq += c[j] * q[j]
                        cr += c[j] * r[j]
                        cs += c[j] * s[j]
                        dp += d[j] * p[j]
                        dq += d[j] * q[j]
                        dr += d[j] * r[j]
                        ds += d[j] * s[j]
                    first, second = ap + aq + ar + as_ + bp + bq + br + bs, cp + cq + cr + cs + dp + dq + dr + ds
                    out[unit, (repeat + i + k) % out.shape[1]] += first + second
        unit = next_unit(counters, unit)


def _dot_products() -> Callable[[], object]:
    frames, filters = (np.ones((n, DOT_LENGTH), np.float32) for n in (DOT_FRAMES, DOT_FILTERS))
    out = np.zeros((DOT_UNITS, 8), np.float32)
    return lambda: spread(_dots, DOT_UNITS, int(_dot_flop()), out, frames, filters)


def _dot_flop() -> float:
    return 2.0 * DOT_UNITS * DOT_REPEATS * DOT_FRAMES * DOT_FILTERS * DOT_LENGTH


@kernel
def _meet(counters, threads):
    unit = next_unit(counters, -1)
    while unit >= 0:
        wait_until_done(counters, unit // threads * threads)
        unit = next_unit(counters, unit)


def _thread_barriers() -> None:
    """Each thread draws a unit and waits until all units of the round before are done."""
    threads = torch.get_num_threads()
    spread(_meet, BARRIERS * threads, 1 << 40, threads)


def _last_cache() -> int:
    """Bytes of the largest cache that the first processor has; 0 where the system does not say."""
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    sizes = [0]
    for file in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text.rstrip("KMG")) * units.get(text[-1:], 1))
    return max(sizes)


def _launch() -> Callable[[], object]:
    small = torch.zeros(32, device="cuda")
    return lambda: small.add_(1)


def _replay() -> Callable[[], object]:
    small = torch.zeros(32, device="cuda")
    small.add_(1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(10):
            small.add_(1)
    return graph.replay


# One block to a multiprocessor. The counter only rises, so that a barrier needs no second one to reset it.
BARRIER_SOURCE = """
struct Launch { unsigned long long counter; unsigned long long count; };
extern "C" __global__ void barriers(Launch given) {
    unsigned int* counter = reinterpret_cast<unsigned int*>(given.counter);
    for (unsigned int i = 1; i <= given.count; ++i) {
        __syncthreads();
        if (threadIdx.x == 0) {
            __threadfence();
            atomicAdd(counter, 1u);
            while (*reinterpret_cast<volatile unsigned int*>(counter) < i * gridDim.x) {}
            __threadfence();
        }
        __syncthreads();
    }
}
"""


def _grid_barriers() -> Callable[[], object]:
    """BARRIERS barriers of a cooperative launch, in one call."""
    if importlib.util.find_spec("cupy") is None:
        raise RuntimeError("cupy is not installed; pip install 'partae-fast[gpu]'")
    import cupy

    function = cupy.RawModule(code=BARRIER_SOURCE, options=("-std=c++17",)).get_function("barriers")
    meet = Kernel("barriers", 256, 1, 0, True, function.kernel.ptr, function)
    counter = torch.zeros(1, dtype=torch.int32, device="cuda")
    given = np.array([counter.data_ptr(), BARRIERS], dtype=np.uint64)
    blocks = torch.cuda.get_device_properties().multi_processor_count

    def call() -> None:
        counter.zero_()
        meet.launch(blocks, given, torch.cuda.current_stream().cuda_stream)

    return call
