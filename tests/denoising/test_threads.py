import threading
import time

import pytest
import torch

from partae_fast.denoising.threads import MOST, in_order


@pytest.fixture(params=[1, 2, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_chunks(threads):
    def late_where_even(number):
        time.sleep(0.002 * (number % 2 == 0))
        return number

    assert list(in_order(late_where_even, ((i,) for i in range(20)))) == list(range(20))


def test_no_more_chunks_wait_than_threads_and_one(threads):
    drawn = 0

    def chunks():
        nonlocal drawn
        for i in range(30):
            drawn += 1
            yield (i,)

    for taken, _ in enumerate(in_order(lambda i: i, chunks()), start=1):
        assert drawn - taken <= min(threads, MOST) + 1


def test_a_chunk_keeps_to_its_thread_where_there_are_others(threads):
    from partae_fast.kernels._cpu import threads as pool

    def kernels_are_alone(_):
        return getattr(pool._of_this_thread, "alone", False), threading.current_thread() is threading.main_thread()

    several = set(in_order(kernels_are_alone, [(0,), (1,), (2,)]))
    assert several == ({(False, True)} if threads == 1 else {(True, False)})
    assert list(in_order(kernels_are_alone, [(0,)])) == [(False, True)]
    assert list(in_order(kernels_are_alone, [])) == []


def test_what_goes_wrong_in_a_chunk_is_raised_and_ends_the_rest(threads):
    begun = []

    def third_fails(number):
        begun.append(number)
        if number == 2:
            raise MemoryError("no room")
        return number

    with pytest.raises(MemoryError, match="no room"):
        list(in_order(third_fails, ((i,) for i in range(1000))))
    assert len(begun) <= 3 + threads + 1


def test_what_goes_wrong_in_reading_is_raised(threads):
    def chunks():
        yield (0,)
        yield (1,)
        yield (2,)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(in_order(lambda i: i, chunks()))
