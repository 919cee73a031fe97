"""Code that the CUDA C implementations share: sources, the limits of a GPU, compiling with CuPy, launching.

Importing this module needs neither CuPy nor a GPU.
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

from ..registry import BackendFailed, BackendUnavailable, one_line

KERNELS = Path(__file__).resolve().parents[1]
CLUSTERS = (1, 2, 4, 8)  # blocks in a cluster; larger ones are not portable


@dataclass(frozen=True)
class Limits:
    """The limits of a GPU. `clusters` has (blocks in a cluster, clusters resident at once with one block on an SM)."""

    capability: int  # 90 for 9.0
    shared: int  # bytes of shared memory that a block may have
    multiprocessors: int
    clusters: tuple[tuple[int, int], ...]

    def resident(self, cluster: int) -> int:
        """Return how many clusters of that many blocks run at once; 0 if the GPU has none of that size."""
        return dict(self.clusters).get(cluster, 0)

    def with_resident(self, cluster: int, count: int) -> "Limits":
        """Return these limits with at most `count` resident clusters of that size."""
        return replace(self, clusters=tuple((c, min(n, count) if c == cluster else n) for c, n in self.clusters))


def assumed_limits(capability: int, shared: int, multiprocessors: int) -> Limits:
    """Return limits before a kernel is compiled: from 9.0 on, clusters fill the GPU as far as their size divides it."""
    sizes = CLUSTERS if capability >= 90 else (1,)
    return Limits(capability, shared, multiprocessors, tuple((size, multiprocessors // size) for size in sizes))


@functools.cache
def device_limits(device: int) -> Limits:
    properties = torch.cuda.get_device_properties(device)
    return assumed_limits(
        10 * properties.major + properties.minor,
        properties.shared_memory_per_block_optin,
        properties.multi_processor_count,
    )


@functools.cache
def source(path: str) -> str:
    """Return the text of a file below `kernels`, with each file that it includes inserted once.

    CuPy caches a compiled kernel by its text, so edits of included files must appear in it.
    """
    included_files: set[Path] = set()

    def text(file: Path) -> str:
        if file in included_files:
            return ""
        included_files.add(file)

        def included(match: re.Match) -> str:
            name = (file.parent / match[1]).resolve()
            return match[0] if name.suffix == ".h" else text(name)  # the shim is for g++ only

        body = file.read_text().replace("#pragma once\n", "")
        return re.sub(r'^#include "(.+)"$', included, body, flags=re.MULTILINE)

    return text(KERNELS / path)


def options(macros: Mapping[str, int]) -> tuple[str, ...]:
    """Return the compiler options for NVRTC and nvcc."""
    return ("-std=c++17", *(f"-D{name}={value}" for name, value in macros.items()))


def installed() -> bool:
    return importlib.util.find_spec("cupy") is not None


@functools.cache
def cupy_failure() -> str | None:
    """Return why CuPy, if installed, cannot be used, or None. For example, the driver may be older than its CUDA."""
    try:
        import cupy

        cupy.cuda.runtime.getDeviceCount()
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # its type depends on what is missing
        message = " ".join(str(error).split())[:200]
        return f"cupy cannot be used ({message}); update the driver, install the cupy for it, or use triton"
    return None


class _Attribute(ctypes.Structure):
    """CUlaunchAttribute: its number, and the first of the 64 bytes of its value."""

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
    try:
        return ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise BackendFailed(f"the CUDA driver cannot be loaded: {one_line(error)}; use backend='eager'") from error


# CUresult of a kernel that ran before, such as that of an illegal address: no kernel of this process can run any more.
FATAL = (214, 220, 226, 700, 702, 709, 710, *range(714, 720), 721)
OUT_OF_MEMORY = 2


def _check(status: int, doing: str) -> None:
    if status == 0:
        return
    name = ctypes.c_char_p()
    _driver().cuGetErrorName(status, ctypes.byref(name))
    error = (name.value or b"").decode() or f"error {status}"
    if status in FATAL:
        raise RuntimeError(f"CUDA failed to {doing}, because an earlier kernel failed: {error}; restart the process")
    kind = BackendUnavailable if status == OUT_OF_MEMORY else BackendFailed
    raise kind(f"CUDA failed to {doing}: {error}; use backend='triton' or 'eager'")


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel, launched on the device that was current when it was compiled.

    CuPy's launch does not support clusters, so this class calls the driver.
    """

    name: str
    threads: int
    cluster: int
    shared: int  # bytes of dynamic shared memory in a block
    cooperative: bool
    function: int
    owner: Any  # keeps the module loaded

    def _configuration(self, blocks: int, stream: int, cooperative: bool) -> _Configuration:
        attributes = [_Attribute(CLUSTER_DIMENSION, 0, (self.cluster, 1, 1))] if self.cluster > 1 else []
        attributes += [_Attribute(COOPERATIVE, 0, (1,))] if cooperative else []
        array = (_Attribute * len(attributes))(*attributes)
        sizes = (blocks, 1, 1), (self.threads, 1, 1), self.shared
        return _Configuration(*sizes, stream, array, len(attributes))

    def resident(self) -> int:
        """Return how many clusters of this kernel are resident at once, with at most one block on a multiprocessor.

        It is 0 if the driver refuses clusters of this size.
        """
        count = ctypes.c_int()
        doing = f"count the blocks of {self.name} that fit"
        if self.cluster == 1:
            query = _driver().cuOccupancyMaxActiveBlocksPerMultiprocessor
            function = ctypes.c_void_p(self.function)
            _check(query(ctypes.byref(count), function, self.threads, ctypes.c_size_t(self.shared)), doing)
            return min(count.value, 1) * torch.cuda.get_device_properties().multi_processor_count
        # The query need not take every attribute of a launch.
        configuration = self._configuration(self.cluster, 0, cooperative=False)
        query = _driver().cuOccupancyMaxActiveClusters
        status = query(ctypes.byref(count), ctypes.c_void_p(self.function), ctypes.byref(configuration))
        if status in FATAL:
            _check(status, doing)
        return 0 if status else count.value

    def launch(self, blocks: int, argument: np.ndarray, stream: int) -> None:
        """Run the kernel with one structure as its argument."""
        configuration = self._configuration(blocks, stream, self.cooperative)
        arguments = (ctypes.c_void_p * 1)(argument.ctypes.data)
        start = _driver().cuLaunchKernelEx
        doing = (
            f"launch {self.name} with {blocks} blocks of {self.threads} threads in clusters of {self.cluster},"
            f" {self.shared} bytes of shared memory each"
        )
        _check(start(ctypes.byref(configuration), ctypes.c_void_p(self.function), arguments, None), doing)


def compiled(
    path: str, name: str, macros: Mapping[str, int], threads: int, cluster: int, shared: int, cooperative: bool
) -> Kernel:
    """Return kernel `name` of a file, compiled by NVRTC for the current device."""
    import cupy

    with cupy.cuda.Device(torch.cuda.current_device()):
        try:
            kernel = cupy.RawModule(code=source(path), options=options(macros)).get_function(name)
            kernel.max_dynamic_shared_size_bytes = shared
        except (cupy.cuda.compiler.CompileException, RuntimeError, OSError) as error:  # errors of the driver are too
            raise BackendFailed(
                f"{name} with {shared} bytes of shared memory a block cannot be prepared: {one_line(error)};"
                " use backend='triton' or 'eager'"
            ) from error
        return Kernel(name, threads, cluster, shared, cooperative, kernel.kernel.ptr, kernel)
