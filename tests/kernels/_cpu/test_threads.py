"""Errors in the thread pool."""

import numpy as np
import pytest

from partae_fast.kernels._cpu import jit, threads


def test_a_failure_in_a_worker_reaches_the_caller(thread_count):
    thread_count(2)

    with pytest.raises(ZeroDivisionError):
        threads.spread(_fails_late, 8, 1, np.zeros(8))
    counts = np.zeros(1000)
    threads.spread(_mark, 1000, 1, counts)
    assert (counts == 1).all()


@jit.kernel
def _fails_late(counters, counts):
    unit = threads.next_unit(counters, -1)
    while unit >= 0:
        counts[unit] = 1
        if unit == 7:
            raise ZeroDivisionError("in the last unit")
        unit = threads.next_unit(counters, unit)


@jit.kernel
def _mark(counters, counts):
    unit = threads.next_unit(counters, -1)
    while unit >= 0:
        counts[unit] += 1
        unit = threads.next_unit(counters, unit)
