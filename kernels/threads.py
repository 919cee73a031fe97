"""A thread pool of our own for kernels that release the GIL.

Not OpenMP: after OpenMP a fork kills the child, and Numba's own work queue aborts when two threads call it at once.
The number of threads is PyTorch's (`torch.set_num_threads`). Which thread does which part changes no result: work
is cut by shapes alone and partial sums are added in a fixed order by whoever owns them.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

PARTS_PER_THREAD = 4  # so that a thread that was held up leaves work to the others
_pools: dict[int, ThreadPoolExecutor] = {}


def _pool(workers: int) -> ThreadPoolExecutor:
    if workers not in _pools:
        _pools[workers] = ThreadPoolExecutor(workers, thread_name_prefix="partae")
    return _pools[workers]


os.register_at_fork(after_in_child=_pools.clear)  # threads do not survive a fork


def spread(kernel: Callable[..., None], units: int, *arguments: object) -> None:
    """Call kernel(first, last, *arguments) over consecutive parts of range(units), on all threads."""
    threads = min(torch.get_num_threads(), units)
    if threads <= 1:
        kernel(0, units, *arguments)
        return
    parts = min(units, threads * PARTS_PER_THREAD)
    bounds = [units * part // parts for part in range(parts + 1)]
    tickets = itertools.count()

    def work() -> None:
        while (part := next(tickets)) < parts:
            kernel(bounds[part], bounds[part + 1], *arguments)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    work()
    for other in others:
        other.result()
