"""Chunks on several threads: order, bound on memory, and errors."""

import threading
import time

import pytest
import torch

from partae_fast.denoising.threads import MAX_THREADS, map_in_order


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_are_in_the_order_of_the_chunks(threads):
    def slow_if_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return number

    assert list(map_in_order(slow_if_even, ((i,) for i in range(20)))) == list(range(20))


def test_at_most_one_chunk_more_than_threads_is_in_memory(threads):
    chunks_read = 0

    def chunks():
        nonlocal chunks_read
        for i in range(30):
            chunks_read += 1
            yield (i,)

    for results, _ in enumerate(map_in_order(lambda i: i, chunks()), start=1):
        assert chunks_read - results <= min(threads, MAX_THREADS) + 1


def test_each_of_several_chunks_uses_one_thread(threads):
    from partae_fast.kernels._cpu import threads as pool

    def thread_state(_):
        return getattr(pool._of_this_thread, "alone", False), threading.current_thread() is threading.main_thread()

    states = set(map_in_order(thread_state, [(0,), (1,), (2,)]))
    assert states == ({(False, True)} if threads == 1 else {(True, False)})
    assert list(map_in_order(thread_state, [(0,)])) == [(False, True)]
    assert list(map_in_order(thread_state, [])) == []


def test_an_error_in_a_chunk_is_raised_and_stops_the_rest(threads):
    called = []

    def third_fails(number):
        called.append(number)
        if number == 2:
            raise MemoryError("no room")
        return number

    with pytest.raises(MemoryError, match="no room"):
        list(map_in_order(third_fails, ((i,) for i in range(1000))))
    assert len(called) <= 3 + threads + 1


def test_an_error_of_the_stream_is_raised(threads):
    def chunks():
        yield (0,)
        yield (1,)
        yield (2,)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(map_in_order(lambda i: i, chunks()))


def test_openblas_has_one_thread_during_the_chunks(threads):
    from partae_fast.kernels._cpu.openblas import OPENBLAS

    if OPENBLAS is None:
        pytest.skip("this NumPy has no OpenBLAS")
    count, before = OPENBLAS.library.get_num_threads, OPENBLAS.library.get_num_threads()
    OPENBLAS.library.set_num_threads(2)
    try:
        for chunks in ([(0,)], [(0,), (1,), (2,)]):
            assert set(map_in_order(lambda _: count(), chunks)) == {1}
        assert count() == 2
        with pytest.raises(ZeroDivisionError):
            list(map_in_order(lambda number: 1 // number, [(1,), (0,), (2,)]))
        assert count() == 2
    finally:
        OPENBLAS.library.set_num_threads(before)
