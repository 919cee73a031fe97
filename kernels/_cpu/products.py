"""Matrix products by the faster of two libraries: PyTorch's, or NumPy's OpenBLAS on processors of AMD.

PyTorch's products are those of Intel's MKL, which is slower on processors of AMD. OpenBLAS runs on the threads of
`spread`, because its own threads would compete with them for the processors.
"""

import functools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from . import LARGE_PRODUCT
from .openblas import OPENBLAS, OneThread
from .threads import next_unit, spread

BLOCK = 256  # rows or columns of the result in a unit of work


def product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """Return a @ b of detached matrices on the CPU, without a gradient, in `out` if it is given.

    Equal bits hold at a fixed number of threads; with OpenBLAS, at any number.
    """
    multiplications = a.numel() * b.shape[1]
    library = _faster_openblas() if a.dtype == torch.float32 and multiplications >= LARGE_PRODUCT else None
    if library is None:
        return torch.mm(a, b, out=out)
    y = torch.empty(a.shape[0], b.shape[1], dtype=a.dtype) if out is None else out
    axis = int(y.shape[1] > y.shape[0])
    with library:
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


@functools.cache
def _faster_openblas() -> OneThread | None:
    """Return NumPy's OpenBLAS if it is the faster library here, else None."""
    return OPENBLAS if torch.backends.mkl.is_available() and _is_amd() else None


def _is_amd() -> bool:
    """Return whether the processor is AMD's."""
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
