"""What the CUDA C implementations share: sources, what a card can hold, compiling through CuPy, launching.

Nothing here needs CuPy or a GPU until it is called.
"""

import ctypes
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..registry import BackendUnavailable

KERNELS = Path(__file__).resolve().parents[1]
CLUSTERS = (1, 2, 4, 8)  # blocks in a cluster; a larger one is not portable


@dataclass(frozen=True)
class Limits:
    """What a card can hold. `clusters` has (blocks in a cluster, clusters resident at once, a block to an SM)."""

    capability: int  # 90 is 9.0
    shared: int  # bytes that a block may have
    multiprocessors: int
    clusters: tuple[tuple[int, int], ...]

    def resident(self, cluster: int) -> int:
        """How many clusters of that many blocks run at once; 0 where the card has none of that size."""
        return dict(self.clusters).get(cluster, 0)

    def with_resident(self, cluster: int, count: int) -> "Limits":
        """The same where no more than `count` clusters of that size are resident."""
        return replace(self, clusters=tuple((c, min(n, count) if c == cluster else n) for c, n in self.clusters))


def assumed_limits(capability: int, shared: int, multiprocessors: int) -> Limits:
    """Limits before a kernel has been asked: clusters, from 9.0 on, fill the card as far as their size divides it."""
    sizes = CLUSTERS if capability >= 90 else (1,)
    return Limits(capability, shared, multiprocessors, tuple((size, multiprocessors // size) for size in sizes))


@functools.cache
def device_limits(device: int) -> Limits:
    seen = torch.cuda.get_device_properties(device)
    return assumed_limits(10 * seen.major + seen.minor, seen.shared_memory_per_block_optin, seen.multi_processor_count)


@functools.cache
def source(path: str) -> str:
    """The text of a file below `kernels`, with the files that it includes in their places, each once.

    CuPy looks a compiled kernel up by its text, so an edit in an included file must show in it.
    """
    seen: set[Path] = set()

    def text(file: Path) -> str:
        if file in seen:
            return ""
        seen.add(file)

        def included(found: re.Match) -> str:
            name = (file.parent / found[1]).resolve()
            return found[0] if name.suffix == ".h" else text(name)  # the shim is for g++ alone

        body = file.read_text().replace("#pragma once\n", "")
        return re.sub(r'^#include "(.+)"$', included, body, flags=re.MULTILINE)

    return text(KERNELS / path)


def options(macros: Mapping[str, int]) -> tuple[str, ...]:
    """What NVRTC and nvcc are told."""
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in macros.items()))


def installed() -> bool:
    return importlib.util.find_spec("cupy") is not None


@functools.cache
def cupy_failure() -> str | None:
    """Why CuPy, where it is installed, cannot be used; None where it can. The driver may be older than its CUDA."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # of several kinds, by what is missing
        seen = " ".join(str(error).split())[:200]
        return f"cupy cannot be used ({seen}); update the driver or install the cupy that fits it, or use triton"
    return None


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute: `number` of the attribute, and the first of its value's 64 bytes."""

    _fields_ = (("number", ctypes.c_int), ("padding", ctypes.c_int), ("value", ctypes.c_uint * 16))


class _Configuration(ctypes.Structure):
    """CUlaunchConfig."""

    _fields_ = (
        ("grid", ctypes.c_uint * 3),
        ("block", ctypes.c_uint * 3),
        ("shared", ctypes.c_uint),
        ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)),
        ("count", ctypes.c_uint),
    )


COOPERATIVE, CLUSTER_DIMENSION = 2, 4  # CUlaunchAttributeID


@functools.cache
def _driver() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def _check(status: int, doing: str) -> None:
    if status == 0:
        return
    name = ctypes.c_char_p()
    _driver().cuGetErrorName(status, ctypes.byref(name))
    error = (name.value or b"").decode() or f"error {status}"
    raise BackendUnavailable(f"CUDA says {error} to {doing}; use backend='triton' or 'eager'")


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel and how it is launched, on the device that was current when it was compiled.

    CuPy's own launch knows nothing of clusters, so the driver is called.
    """

    name: str
    threads: int
    cluster: int
    shared: int  # dynamic, bytes a block
    cooperative: bool
    function: int
    owner: Any  # keeps the module loaded

    def _configuration(self, blocks: int, stream: int) -> _Configuration:
        attributes = [_Attribute(CLUSTER_DIMENSION, 0, (self.cluster, 1, 1))] if self.cluster > 1 else []
        attributes += [_Attribute(COOPERATIVE, 0, (1,))] if self.cooperative else []
        array = (_Attribute * len(attributes))(*attributes)
        sizes = (blocks, 1, 1), (self.threads, 1, 1), self.shared
        return _Configuration(*sizes, stream, array, len(attributes))

    def resident(self) -> int:
        """How many clusters of this kernel the device holds at once, no more than a block to a multiprocessor."""
        found = ctypes.c_int()
        doing = f"the question how many blocks of {self.name} fit"
        if self.cluster == 1:
            query = _driver().cuOccupancyMaxActiveBlocksPerMultiprocessor
            function = ctypes.c_void_p(self.function)
            _check(query(ctypes.byref(found), function, self.threads, ctypes.c_size_t(self.shared)), doing)
            return min(found.value, 1) * torch.cuda.get_device_properties().multi_processor_count
        configuration = self._configuration(self.cluster, 0)
        query = _driver().cuOccupancyMaxActiveClusters
        _check(query(ctypes.byref(found), ctypes.c_void_p(self.function), ctypes.byref(configuration)), doing)
        return found.value

    def launch(self, blocks: int, argument: np.ndarray, stream: int) -> None:
        """Runs the kernel with one structure as its argument."""
        configuration = self._configuration(blocks, stream)
        arguments = (ctypes.c_void_p * 1)(argument.ctypes.data)
        start = _driver().cuLaunchKernelEx
        doing = (
            f"the launch of {self.name} with {blocks} blocks of {self.threads} threads in clusters of {self.cluster},"
            f" {self.shared} bytes of shared memory each"
        )
        _check(start(ctypes.byref(configuration), ctypes.c_void_p(self.function), arguments, None), doing)


def compiled(
    path: str, name: str, macros: Mapping[str, int], threads: int, cluster: int, shared: int, cooperative: bool
) -> Kernel:
    """Kernel `name` of a file, compiled by NVRTC for the current device."""
    import cupy

    with cupy.cuda.Device(torch.cuda.current_device()):
        try:
            kernel = cupy.RawModule(code=source(path), options=options(macros)).get_function(name)
            kernel.max_dynamic_shared_size_bytes = shared
        except (cupy.cuda.compiler.CompileException, cupy.cuda.driver.CUDADriverError) as error:
            raise BackendUnavailable(
                f"{name} with {shared} bytes of shared memory a block cannot be prepared: {error};"
                " use backend='triton' or 'eager'"
            ) from error
        return Kernel(name, threads, cluster, shared, cooperative, kernel.kernel.ptr, kernel)
