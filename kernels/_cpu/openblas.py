"""NumPy's OpenBLAS on one thread, for callers that have threads of their own.

Its threads would compete with the caller's for the processors, and it runs only one product with several threads at a
time. The number of its threads is that of the whole process, and only the main thread can change it (OpenBLAS 0.3.31).
"""

import contextlib
import threading
from typing import Any

import numpy  # noqa: F401  (loads the OpenBLAS that is searched for)

try:
    import threadpoolctl
except ImportError:  # a checkout without the package's dependencies
    threadpoolctl = None


class OneThread:
    """A context in which OpenBLAS runs on the calling thread; several threads may be in it at a time."""

    def __init__(self, library: Any) -> None:
        self.library = library  # a controller of threadpoolctl
        self._lock, self._inside, self._threads = threading.Lock(), 0, 0

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._threads = self.library.get_num_threads()
                self.library.set_num_threads(1)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self.library.set_num_threads(self._threads)


def _of_numpy() -> OneThread | None:
    """Return the context for NumPy's OpenBLAS; None if NumPy uses another library."""
    if threadpoolctl is None:
        return None
    libraries = threadpoolctl.ThreadpoolController().select(internal_api="openblas").lib_controllers
    of_numpy = [library for library in libraries if "numpy" in library.filepath]  # SciPy has another
    return OneThread(of_numpy[0]) if of_numpy else None


OPENBLAS = _of_numpy()  # one for the process, because it counts the threads that are in it


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Return a context in which NumPy's products run on the calling thread, if OpenBLAS computes them.

    It has no effect in other threads than the main one.
    """
    return OPENBLAS or contextlib.nullcontext()
