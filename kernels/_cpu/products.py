"""Matrix products by the faster of two libraries: PyTorch's, or NumPy's OpenBLAS on processors of AMD.

PyTorch's products are those of Intel's MKL, which is slower on processors of AMD. OpenBLAS runs on the threads of
`spread`, because its own threads would compete with them for the processors.
"""

import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .threads import next_unit, spread

try:
    import threadpoolctl
except ImportError:  # a checkout without the package's dependencies
    threadpoolctl = None

WORTH = 400_000_000  # multiplications; for fewer PyTorch is as fast
BLOCK = 256  # rows or columns of the result in a unit of work


def product(a: Tensor, b: Tensor) -> Tensor:
    """Return a @ b of detached matrices on the CPU, without a gradient.

    Equal bits hold at a fixed number of threads; with OpenBLAS, at any number.
    """
    multiplications = a.numel() * b.shape[1]
    openblas = _openblas() if a.dtype == torch.float32 and multiplications >= WORTH else None
    if openblas is None:
        return torch.mm(a, b)
    y = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype)
    axis = int(y.shape[1] > y.shape[0])
    with openblas:
        units = -(-y.shape[axis] // BLOCK)
        spread(_multiply, units, multiplications, a.numpy(), b.numpy(), y.numpy(), axis)
    return y


def _multiply(counters: np.ndarray, a: np.ndarray, b: np.ndarray, y: np.ndarray, axis: int) -> None:
    """Write a @ b to y; a unit is a block of rows (axis 0) or of columns (axis 1)."""
    unit = next_unit(counters, -1)
    while unit >= 0:
        block = slice(unit * BLOCK, (unit + 1) * BLOCK)
        if axis:
            np.matmul(a, b[:, block], out=y[:, block])
        else:
            np.matmul(a[block], b, out=y[block])
        unit = next_unit(counters, unit)


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


@functools.cache
def _openblas() -> OneThread | None:
    """Return NumPy's OpenBLAS if it is the faster library here, else None."""
    if threadpoolctl is None or not torch.backends.mkl.is_available() or not _is_amd():
        return None
    libraries = threadpoolctl.ThreadpoolController().select(internal_api="openblas").lib_controllers
    of_numpy = [library for library in libraries if "numpy" in library.filepath]  # SciPy has another
    return OneThread(of_numpy[0]) if of_numpy else None


def _is_amd() -> bool:
    """Return whether the processor is AMD's."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
