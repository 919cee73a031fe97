"""A thread pool of our own for kernels that release the GIL.

Not OpenMP: after OpenMP a fork kills the child, and Numba's own work queue aborts when two threads call it at once.
The number of threads is PyTorch's (`torch.set_num_threads`). Which thread does which part changes no result: work
is cut by shapes alone and partial sums are added in a fixed order.
"""

import itertools
import os
import threading
from collections.abc import Callable

import torch

PARTS_PER_THREAD = 4  # so that a thread that was held up leaves work to the others
WORTH_WAKING = 2_000_000  # scalar operations: about what one core does while another wakes up (50 us were seen)


class _Worker:
    """A thread that runs one task at a time, between `start` and `wait`."""

    def __init__(self) -> None:
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._begin.acquire()
        self._end.acquire()
        self._task: Callable[[], None] | None = None
        self._failure: BaseException | None = None
        threading.Thread(target=self._run, name="partae", daemon=True).start()

    def _run(self) -> None:
        while True:
            self._begin.acquire()
            try:
                if self._task is not None:
                    self._task()
            except BaseException as failure:
                self._failure = failure
            self._end.release()

    def start(self, task: Callable[[], None]) -> None:
        self._task, self._failure = task, None
        self._begin.release()

    def wait(self) -> None:
        self._end.acquire()
        self._task = None
        if self._failure is not None:
            raise self._failure


_workers: list[_Worker] = []
_busy = threading.Lock()


def _after_fork() -> None:
    """Threads do not survive a fork: the child starts its own."""
    global _busy
    _workers.clear()
    _busy = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def spread(kernel: Callable[..., None], units: int, work: int, *arguments: object) -> None:
    """Call kernel(first, last, *arguments) over consecutive parts of range(units), on all threads.

    `work` is about how many scalar operations there are in all: little work is done by the caller alone, and so is
    all work of a caller that finds the workers busy with another's.
    """
    threads = min(torch.get_num_threads(), units) if work > WORTH_WAKING else 1
    if threads <= 1 or not _busy.acquire(blocking=False):
        kernel(0, units, *arguments)
        return
    try:
        parts = min(units, threads * PARTS_PER_THREAD)
        bounds = [units * part // parts for part in range(parts + 1)]
        tickets = itertools.count()

        def drain() -> None:
            while (part := next(tickets)) < parts:
                kernel(bounds[part], bounds[part + 1], *arguments)

        while len(_workers) < threads - 1:
            _workers.append(_Worker())
        helpers = _workers[: threads - 1]
        for helper in helpers:
            helper.start(drain)
        try:
            drain()
        finally:
            for helper in helpers:
                helper.wait()
    finally:
        _busy.release()
