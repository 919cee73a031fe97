"""Process the chunks of a stream on several threads, one chunk per thread."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

T = TypeVar("T")

MAX_THREADS = 8  # bounds the memory on machines with many processors


def map_in_order(function: Callable[..., T], chunks: Iterable[tuple[Any, ...]]) -> Iterator[T]:
    """Yield function(*chunk) for each chunk, in order, on as many threads as PyTorch has, up to `MAX_THREADS`.

    A single chunk is processed on the calling thread, and its kernels may use all threads. NumPy's products, which are
    small here, use one: waiting for the threads of OpenBLAS takes longer. An exception of `function` or `chunks` is
    raised here after the running calls have ended.
    """
    chunks = iter(chunks)
    first = list(itertools.islice(chunks, 2))
    chunks = itertools.chain(first, chunks)
    threads = 1 if len(first) < 2 else min(torch.get_num_threads(), MAX_THREADS)
    from ..kernels._cpu.openblas import one_thread  # it searches the loaded libraries, which imports need not wait for

    with one_thread():
        yield from itertools.starmap(function, chunks) if threads == 1 else _on_threads(function, chunks, threads)


def _on_threads(function: Callable[..., T], chunks: Iterable[tuple[Any, ...]], threads: int) -> Iterator[T]:
    from ..kernels._cpu.threads import alone  # imported here because importing Numba is slow

    def on_one_thread(*chunk: Any) -> T:
        with alone():
            return function(*chunk)

    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="partae-chunk") as pool:
        try:
            for chunk in chunks:
                waiting.append(pool.submit(on_one_thread, *chunk))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
