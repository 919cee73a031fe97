"""Measure the limits of this machine, in the same run as the versions that are compared with them."""

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

ENCODE = 8192, 288, 32  # B*N, M*H and K of the paper's configuration: its encode is a matrix product of this shape
BARRIERS = 1000
ROUNDS = 20
# Sizes in bytes of the arrays whose bandwidth is measured. Those for a GPU fit in no cache: a smaller array is
# processed in less time than a launch takes.
CPU_SETS = tuple(1 << bits for bits in (20, 22, 24, 26, 28))
GPU_SETS = (1 << 28, 1 << 32)
QUANTILE = 0.1  # of the times: a ceiling is what the machine reaches when nothing disturbs it


def ceilings(device: str, rounds: int = ROUNDS) -> dict[str, Any]:
    """Return the limits of the machine, each measured with the fastest method.

    flop_per_s          float32 operations per second, the highest of `rates`: a square matrix product of size 1024
                        (8192 on a GPU), a product of the shape of encode, and on the CPU register-blocked dot products
                        of runs that stay in the first-level cache, also on one thread
    bandwidths          [size, bytes per second] for arrays of several sizes in bytes, by size: a copy (bytes read and
                        written) or a sum (bytes read), whichever is faster; never below the rate of a larger array
    bytes_per_s         the bandwidth of the largest array, which fits in no cache
    barrier_seconds     time for every thread (on a GPU every block) to wait for all others
    cache_bytes         size of the last-level cache
    one_thread_flop_per_s                                                       CPU only
    tf32_flop_per_s, launch_seconds, graph_node_seconds                         GPU only
    skipped             what could not be measured, with the reason
    """
    return _gpu_ceilings(rounds) if device == "cuda" else _cpu_ceilings(rounds)


def faster(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the higher rates and the shorter times of two measurements of the ceilings."""
    limits: dict[str, Any] = {}
    for name, value in first.items():
        if name == "rates":
            limits[name] = {method: max(rate, second[name][method]) for method, rate in value.items()}
        elif name == "bandwidths":
            pairs = zip(value, second[name], strict=True)
            limits[name] = [[size, max(rate, second_rate)] for (size, rate), (_, second_rate) in pairs]
        elif name == "skipped":
            limits[name] = value
        else:
            limits[name] = (min if name.endswith("_seconds") else max)(value, second[name])
    return limits


def _cpu_ceilings(rounds: int) -> dict[str, Any]:
    rates = _rates("cpu", 1024, {"dot products": (_dot_products(), _dot_flop())}, rounds)
    bandwidths = _bandwidths("cpu", CPU_SETS, rounds)
    seconds = _fast_seconds({"barriers": _thread_barriers}, "cpu", rounds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        one_thread_rates = _rates("cpu", 1024, {"dot products": (_dot_products(), _dot_flop())}, rounds)
    finally:
        torch.set_num_threads(threads)
    return {
        "rates": rates,
        # If other programs run, one thread may be faster than several that wait for each other.
        "flop_per_s": max(*rates.values(), *one_thread_rates.values()),
        "one_thread_flop_per_s": max(one_thread_rates.values()),
        "bandwidths": bandwidths,
        "bytes_per_s": bandwidths[-1][1],
        "barrier_seconds": seconds["barriers"] / BARRIERS,
        "cache_bytes": _last_cache(),
        "skipped": {},
    }


def _gpu_ceilings(rounds: int) -> dict[str, Any]:
    bandwidths = _bandwidths("cuda", GPU_SETS, rounds)
    seconds = _fast_seconds({"launch": _launch(), "replay of 10 launches": _replay()}, "cuda", rounds)
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
        barriers = _fast_seconds({"barriers": _grid_barriers()}, "cuda", rounds)
        limits["barrier_seconds"] = barriers["barriers"] / BARRIERS
    except Exception as error:  # of any kind, from the driver or the compiler: the other ceilings are still valid
        limits["skipped"]["barrier"] = f"{type(error).__name__}: {error}"
    return limits


def _fast_seconds(calls: dict[str, Callable[[], object]], device: str, rounds: int) -> dict[str, float]:
    """Return the seconds of each call, at the quantile QUANTILE."""
    return {name: float(np.quantile(s, QUANTILE)) for name, s in measure(calls, device, rounds=rounds).items()}


def _rates(
    device: str, size: int, others: dict[str, tuple[Callable[[], object], float]], rounds: int
) -> dict[str, float]:
    """Return the operations per second of a square and a tall matrix product, and of `others`.

    `others` is {name: (call, number of operations)}.
    """
    calls, flop = {}, {}
    for m, k, n in ((size, size, size), ENCODE):
        a, b, out = (torch.randn(*s, device=device) for s in ((m, k), (k, n), (m, n)))
        name = f"product {m} x {k} x {n}"
        calls[name], flop[name] = (lambda a=a, b=b, out=out: torch.mm(a, b, out=out)), 2.0 * m * k * n
    for name, (call, operations) in others.items():
        calls[name], flop[name] = call, operations
    return {name: flop[name] / seconds for name, seconds in _fast_seconds(calls, device, rounds).items()}


def _bandwidths(device: str, sizes: tuple[int, ...], rounds: int) -> list[list[float]]:
    """Return [size, bytes per second] for arrays of these sizes in bytes, the smallest first."""
    limits: list[list[float]] = []
    for size in sorted(sizes, reverse=True):
        source = torch.randn(size // 4, device=device)
        first_half, second_half = source.chunk(2)
        calls = {"copy": lambda a=first_half, b=second_half: b.copy_(a), "sum": lambda a=source: a.sum()}
        rate = size / min(_fast_seconds(calls, device, rounds).values())
        limits.insert(0, [size, max([rate, *(larger for _, larger in limits)])])
    return limits


DOT_UNITS, DOT_REPEATS = 64, 16
DOT_FRAMES, DOT_FILTERS, DOT_LENGTH = 16, 8, 288  # 28 KB together


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
    """Run BARRIERS rounds in which each thread takes a unit and waits for all units of the previous round."""
    threads = torch.get_num_threads()
    spread(_meet, BARRIERS * threads, 1 << 40, threads)


def _last_cache() -> int:
    """Return the size in bytes of the first processor's largest cache; 0 if the system does not report it."""
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


# One block per multiprocessor. The counter only rises, so no second barrier is needed to reset it.
BARRIER_SOURCE = """
struct Launch { unsigned long long counter; unsigned long long count; };
extern "C" __global__ void barriers(Launch launch) {
    unsigned int* counter = reinterpret_cast<unsigned int*>(launch.counter);
    for (unsigned int i = 1; i <= launch.count; ++i) {
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
    """Return a call that makes BARRIERS barriers in one cooperative launch."""
    if importlib.util.find_spec("cupy") is None:
        raise RuntimeError("cupy is not installed; pip install 'partae-fast[gpu]'")
    import cupy

    function = cupy.RawModule(code=BARRIER_SOURCE, options=("-std=c++17",)).get_function("barriers")
    kernel = Kernel("barriers", 256, 1, 0, True, function.kernel.ptr, function)
    counter = torch.zeros(1, dtype=torch.int32, device="cuda")
    launch = np.array([counter.data_ptr(), BARRIERS], dtype=np.uint64)
    blocks = torch.cuda.get_device_properties().multi_processor_count

    def call() -> None:
        counter.zero_()
        kernel.launch(blocks, launch, torch.cuda.current_stream().cuda_stream)

    return call
