"""The chunks of a stream on several threads, each whole chunk on one: FFTs and copies take turns on no core then."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")

MOST = 8  # chunks at once: a bound on memory where there are many processors


def in_order(call: Callable[..., T], chunks: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """call(*chunk) for each chunk, in their order, as many at once as PyTorch has threads, `MOST` at most.

    A chunk that is alone is called here, by kernels that may use all threads. What is raised, by `call` or by
    `chunks`, is raised here, once what is under way has ended.
    """
    chunks = iter(chunks)
    first = list(itertools.islice(chunks, 2))
    threads = min(torch.get_num_threads(), MOST)
    if threads == 1 or len(first) < 2:
        yield from itertools.starmap(call, itertools.chain(first, chunks))
        return
    from ..kernels._cpu.threads import alone  # here: Numba's import takes longer than all of ours

    def on_one_thread(*chunk: Any) -> T:
        with alone():
            return call(*chunk)

    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="partae-chunk") as pool:
        try:
            for chunk in itertools.chain(first, chunks):
                waiting.append(pool.submit(on_one_thread, *chunk))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
