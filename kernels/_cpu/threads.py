"""A thread pool for kernels that release the GIL, with as many threads as PyTorch uses (`torch.set_num_threads`).

The number of threads changes no bit of a result: shapes alone determine the units of work, and partial sums are added
in a fixed order.
"""

# Why not OpenMP: a child process that is forked after OpenMP has run is killed, and Numba's work queue aborts if two
# threads call it at once. Waking a sleeping thread, or one that waits for the GIL, takes about 50 us. So threads take
# units of work from a counter in memory without the GIL, the caller starts at once and takes the units that the others
# are late for, and a waiting thread polls a counter for a while before it sleeps.

import atexit
import contextlib
import ctypes
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .jit import kernel

PARTIALS = 16  # partial sums of a gradient: enough for 16 threads, few enough to add up quickly
WORTH_WAKING = 2_000_000  # scalar operations: about what one core does while another wakes up
CALLER_SPINS = 100_000  # polls of a counter before the caller sleeps: about 50 us
WORKER_SPINS = 2_000_000  # and before a worker sleeps: about 1 ms; in training the next task comes sooner
NAP = 20e-6  # seconds
LOOKS_BEFORE_YIELD = 4096  # polls of another unit's progress: about 10 us

_sched_yield = types.ExternalFunction("sched_yield", types.int32())

_DRAWN, _DONE, _UNITS = 0, 8, 16  # indices in the counters, a cache line apart


@intrinsic
def _count(typingctx, counters, place):
    """Add one to counters[place] atomically; return the previous value."""

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature, args)
        return builder.atomic_rmw("add", address, ir.Constant(ir.IntType(64), 1), "seq_cst")

    return types.int64(counters, types.intp), codegen


@intrinsic
def _look(typingctx, counters, place):
    """Return counters[place], which another thread may have changed."""

    def codegen(context, builder, signature, args):
        return builder.load_atomic(_address(context, builder, signature, args), "seq_cst", align=8)

    return types.int64(counters, types.intp), codegen


def _address(context, builder, signature, args):
    array = context.make_array(signature.args[0])(context, builder, args[0])
    return cgutils.gep_inbounds(builder, array.data, args[1])


@kernel
def next_unit(counters, unit):
    """Return the next unit of work, or -1 if there is none; `unit`, if not -1, is marked as done.

    Every kernel that `spread` runs is a loop over units:

        unit = next_unit(counters, -1)
        while unit >= 0:
            ...
            unit = next_unit(counters, unit)
    """
    if unit >= 0:
        _count(counters, _DONE)
    drawn = _count(counters, _DRAWN)
    return drawn if drawn < counters[_UNITS] else -1


@kernel
def count_up(counters, place):
    """Add one to counters[place]; threads that wait for it see all earlier writes."""
    _count(counters, place)


@kernel
def wait_for(counters, place, value):
    """Return once counters[place] is at least `value`."""
    looks = 0
    while _look(counters, place) < value:
        looks += 1
        if looks > LOOKS_BEFORE_YIELD:  # with more threads than processors the other unit may need this processor
            _sched_yield()


@kernel
def wait_until_done(counters, count):
    """Return once `count` units are done; a unit may wait for units that were taken before it."""
    wait_for(counters, _DONE, count)


@kernel
def _reached(counters, place, value, spins):
    """Return whether counters[place] becomes `value` within `spins` polls."""
    for _ in range(spins):  # noqa: SIM110 (Numba compiles loops)
        if _look(counters, place) == value:
            return True
    return False


@kernel
def _changed(counters, place, value, spins):
    """Return whether counters[place] changes from `value` within `spins` polls.

    It offers the processor to others in between: threads of PyTorch may need it for the next product.
    """
    for _ in range(spins // LOOKS_BEFORE_YIELD):
        for _ in range(LOOKS_BEFORE_YIELD):
            if _look(counters, place) != value:
                return True
        _sched_yield()
    return False


def _sched_getcpu() -> Callable[[], int] | None:
    """Return the system's sched_getcpu, or None if it has none."""
    try:
        return ctypes.CDLL(None).sched_getcpu if hasattr(os, "sched_setaffinity") else None
    except (OSError, AttributeError):
        return None


class _Workers:
    """Threads that wait for tasks; as many as were ever needed at once."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._posted = np.zeros(1, dtype=np.int64)  # changes when tasks are handed out
        self._threads: list[threading.Thread] = []
        self._caller_cpu = -1
        self._current_cpu = _sched_getcpu()

    def hand_out(self, task: Callable[[], None], count: int) -> None:
        """Run the task on `count` threads besides the caller."""
        while len(self._threads) < count:
            self._threads.append(threading.Thread(target=self._work, name="partae", daemon=True))
            self._threads[-1].start()
            self._caller_cpu = -1
        self._keep_off_the_callers_cpu()
        for _ in range(count):
            self._tasks.put(task)
        self._posted[0] += 1

    def _work(self) -> None:
        while True:
            posted = int(self._posted[0])
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                if _changed(self._posted, 0, posted, WORKER_SPINS):
                    continue
                task = self._tasks.get()
            if task is None:
                return
            task()

    def stop(self) -> None:
        """End all threads: a thread that returns from a kernel during interpreter shutdown aborts the process."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._tasks.put(None)
        self._posted[0] += 1
        for thread in threads:
            thread.join(timeout=1.0)

    def _keep_off_the_callers_cpu(self) -> None:
        """Exclude the caller's CPU from the CPUs of the workers.

        On two CPUs, after some idle milliseconds, Linux 6.18 woke the worker on the caller's CPU and left the other
        CPU idle: encode took 1.6 ms instead of 0.85 ms.
        """
        if self._current_cpu is None:
            return
        cpu = self._current_cpu()
        others = os.sched_getaffinity(0) - {cpu} if cpu != self._caller_cpu else set()
        if others:
            for thread in self._threads:
                if thread.native_id is not None:
                    os.sched_setaffinity(thread.native_id, others)
        self._caller_cpu = cpu


_workers = _Workers()
_of_this_thread = threading.local()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Run kernels that this thread calls in the block on this thread only, while other threads do the same.

    `torch.set_num_threads` would change the whole process.
    """
    before = getattr(_of_this_thread, "alone", False)
    _of_this_thread.alone = True
    try:
        yield
    finally:
        _of_this_thread.alone = before


def _after_fork() -> None:
    """Start with no threads in a child process: threads do not survive a fork."""
    global _workers
    _workers = _Workers()


@atexit.register
def _at_exit() -> None:
    _workers.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def spread(part: Any, units: int, work: int, *arguments: Any) -> None:
    """Run the kernel part(counters, *arguments), a loop over units (see `next_unit`), on all threads.

    `work` is the approximate number of scalar operations. The caller alone runs small work, and all work inside
    `alone`. An exception in any thread is raised here.
    """
    counters = np.zeros(24, dtype=np.int64)
    counters[_UNITS] = units
    shared = work > WORTH_WAKING and not getattr(_of_this_thread, "alone", False)
    threads = min(torch.get_num_threads(), units) if shared else 1
    failures: list[BaseException] = []

    def help_out() -> None:
        try:
            part(counters, *arguments)
        except BaseException as failure:
            failures.append(failure)

    if threads > 1:
        _workers.hand_out(help_out, threads - 1)
    part(counters, *arguments)
    while not _reached(counters, _DONE, units, CALLER_SPINS):
        if failures:
            raise failures[0]
        time.sleep(NAP)
