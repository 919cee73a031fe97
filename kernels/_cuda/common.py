"""Code that the CUDA C implementations share: sources, the limits of a GPU, compiling with CuPy, launching.

Importing this module needs neither CuPy nor a GPU.
"""

import contextlib
import ctypes
import functools
import importlib.util
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

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


def options(macros: Mapping[str, int | str]) -> tuple[str, ...]:
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
    path: str, name: str, macros: Mapping[str, int | str], threads: int, cluster: int, shared: int, cooperative: bool
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


@dataclass(frozen=True)
class Target:
    """Where the kernels of single ops run: a GPU, or the CPU through the shim, and what they are compiled with there.

    `start(path, name, macros, blocks, shared, argument)` launches a kernel with one structure as its argument.
    """

    start: Callable[[str, str, tuple[tuple[str, int | str], ...], int, int, np.ndarray], None]
    shared: int = 96 * 1024  # bytes for which work is divided: a block of every GPU from 8.0 on may have them
    threads: int = 256  # of a block
    lanes: int = 32  # threads that share a run of frames, or a sum of partial sums
    frames: int = 8  # that a thread encodes
    rows: int = 64  # frames of a tile, if they are whole windows; up to twice as many for a longer window
    latents: int = 32  # of a block
    outputs: int = 4  # groups of 4 bins of a reconstruction whose sums a thread keeps
    sums: int = 12  # of a weight gradient that a thread keeps, at most
    constant_sizes: bool = True  # whether the sizes of the work are constants of a kernel


@functools.cache
def _compiled_for(device: int, path: str, name: str, macros: tuple[tuple[str, int | str], ...]) -> Kernel:
    """Return a kernel for `device`, which is current; it may be launched with less shared memory."""
    return compiled(path, name, dict(macros), GPU.threads, 1, GPU.shared, cooperative=False)


def _start_on_gpu(
    path: str, name: str, macros: tuple[tuple[str, int | str], ...], blocks: int, shared: int, argument: np.ndarray
) -> None:
    kernel = _compiled_for(torch.cuda.current_device(), path, name, macros)
    replace(kernel, shared=shared).launch(blocks, argument, torch.cuda.current_stream().cuda_stream)


GPU = Target(_start_on_gpu)
BLOCKS_MAX = 2**31 - 1  # CUDA's limit on the first axis of a grid
_on_cpu: list[Target] = []


@contextlib.contextmanager
def running_on_cpu(target: Target) -> Iterator[None]:
    """Let the kernels of single ops take tensors in CPU memory, and run them on `target`, the shim."""
    _on_cpu.append(target)
    try:
        yield
    finally:
        _on_cpu.pop()


def target_for(op: str, tensor: Tensor) -> Target:
    """Return where kernels on this tensor run; raise BackendUnavailable if nowhere."""
    if tensor.device.type == "cuda":
        failure = cupy_failure() if installed() else "cupy is not installed; pip install 'partae-fast[gpu]'"
        if failure is None and device_limits(tensor.device.index or 0).capability < 80:
            failure = "it needs compute capability 8.0 or higher; use triton or eager"
        if failure is None:
            return GPU
    elif _on_cpu and tensor.device.type == "cpu":
        return _on_cpu[-1]
    else:
        failure = f"it needs tensors on a CUDA device and these are on {tensor.device}; move them or use cpu or eager"
    raise BackendUnavailable(f"back-end cuda cannot run {op} here: {failure}")


def launch(
    target: Target,
    path: str,
    name: str,
    macros: Mapping[str, int | str],
    /,
    *,
    blocks: int,
    shared: int,
    layout: np.dtype,
    **fields: Any,
) -> None:
    """Run a kernel with `blocks` blocks and one structure of `layout`, whose pointers `fields` has as tensors or None.

    A tensor must stay alive until its stream has run the kernel, which PyTorch's allocator ensures.
    """
    if blocks > BLOCKS_MAX:
        raise ValueError(f"{name} would need {blocks} blocks and a launch has at most 2^31 - 1; split the batch")
    if shared > target.shared:
        raise BackendUnavailable(
            f"{name} needs {shared} bytes of shared memory a block and divides its work for {target.shared};"
            " use triton or eager"
        )
    argument = np.zeros(1, layout)
    device = torch.device("cpu")
    for field in layout.names or ():
        value = fields[field]
        if isinstance(value, Tensor):
            device, value = value.device, value.data_ptr()
        argument[field] = 0 if value is None else value
    here = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    with here:
        target.start(path, name, tuple(macros.items()), blocks, shared, argument)


def structure(*pointers: str, **fields: Any) -> np.dtype:
    """Return the layout of a kernel's structure: pointers, then `fields` with their types, aligned as in C++."""
    return np.dtype([*((name, "u8") for name in pointers), *fields.items()], align=True)


def numbers(sizes: np.ndarray) -> str:
    """Return the numbers of one structure as the initializer of a constant."""
    return ",".join(map(str, sizes.tolist()[0]))


def aligned(tensor: Tensor, row: int) -> bool:
    """Return whether all rows of `row` floats begin at multiples of 16 bytes."""
    return row % 4 == 0 and tensor.data_ptr() % 16 == 0


def cover(count: int, by: int) -> int:
    """Return how many parts of size `by` cover `count`."""
    return -(-count // by)


def round_up(count: int, to: int) -> int:
    return cover(count, to) * to


def check_counts(**counts: int) -> None:
    """Raise ValueError for a count that 32-bit indices in the kernels cannot hold."""
    for name, count in counts.items():
        if count >= 2**30:
            raise ValueError(f"{name} is {count} and the cuda back-end takes fewer than 2^30; split the input")
