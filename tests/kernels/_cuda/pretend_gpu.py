"""A GPU that does not exist: tensors that say they are on it, a CuPy that compiles with g++, and a CUDA driver.

Everything above the driver is the code that runs on a real GPU. Kernels run on the CPU, through the thread shim.
"""

import contextlib
import ctypes
import functools
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from partae_fast.conformance import cuda_shim
from partae_fast.kernels import registry
from partae_fast.kernels._cuda import common
from partae_fast.kernels.train_steps import cuda

GPU = torch.device("cuda", 0)
STREAM = 0x5EED0


class OnGpu(torch.Tensor):
    """A tensor in CPU memory that says that it is on the GPU, as do results that are computed from it."""

    device = property(lambda self: GPU)  # pyright: ignore
    is_cuda = property(lambda self: True)  # pyright: ignore
    is_cpu = property(lambda self: False)  # pyright: ignore


_READS = {getattr(torch.Tensor, name) for name in ("item", "tolist", "__float__", "__int__", "__bool__", "__index__")}
_MOVES = {torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu}


class Machine(TorchFunctionMode):
    """PyTorch on a machine with the GPU. It counts copies, and refuses what PyTorch refuses.

    Attributes:
        uploads: for each copy from the host to the GPU, whether it waits for the stream.
        downloads: number of copies and reads from the GPU to the host; all of them wait.
    """

    def __init__(self, driver: ctypes.CDLL) -> None:
        super().__init__()
        self.driver, self.uploads, self.downloads = driver, list[bool](), 0

    def _download(self) -> None:
        self.downloads += 1
        if self.driver.gpu_error():
            raise RuntimeError("CUDA error: an earlier kernel failed")

    def _upload(self, source: torch.Tensor, non_blocking: bool) -> None:
        self.uploads.append(not (non_blocking and getattr(source, "pinned", False)))

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _MOVES:
            return self._moved(func, args[0], list(args[1:]), kwargs)
        if "device" in kwargs or "pin_memory" in kwargs:
            return self._made(func, args, kwargs)
        on_gpu = [isinstance(t, OnGpu) for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.ndim]
        if func is torch._has_compatible_shallow_copy_type:
            return len(set(on_gpu)) == 1
        if func is torch.Tensor.copy_:
            to, source = args[:2]
            if isinstance(to, OnGpu) and not isinstance(source, OnGpu):
                self._upload(source, kwargs.get("non_blocking", False))
            elif isinstance(source, OnGpu) and not isinstance(to, OnGpu):
                self._download()
        elif any(on_gpu) and not all(on_gpu):
            raise RuntimeError(f"{func.__name__}: expected all tensors to be on the same device, found cuda:0 and cpu")
        elif func is torch.Tensor.numpy and isinstance(args[0], OnGpu):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")
        elif func in _READS and isinstance(args[0], OnGpu):
            self._download()
        return func(*args, **kwargs)

    def _moved(self, func: Any, tensor: torch.Tensor, others: list, kwargs: dict) -> torch.Tensor:
        target = {torch.Tensor.cuda: GPU, torch.Tensor.cpu: torch.device("cpu")}.get(func, tensor.device)
        non_blocking = kwargs.pop("non_blocking", False)
        for value in [*others, kwargs.pop("device", None)]:
            if isinstance(value, (str, torch.device)):
                target = torch.device(value)
            elif isinstance(value, bool):
                non_blocking = value
        kinds = [value for value in [*others, kwargs.get("dtype")] if isinstance(value, torch.dtype)]
        converted = tensor.to(kinds[0]) if kinds else tensor
        if target.type == tensor.device.type:
            return converted
        if target.type == "cuda":
            self._upload(tensor, non_blocking)
            return converted.clone().as_subclass(OnGpu)
        self._download()
        return converted.clone().as_subclass(torch.Tensor)

    def _made(self, func: Any, args: tuple, kwargs: dict) -> torch.Tensor:
        device, pinned = torch.device(kwargs.pop("device", None) or "cpu"), kwargs.pop("pin_memory", False)
        made = func(*args, **kwargs)
        if device.type == "cuda":
            if func in (torch.tensor, torch.as_tensor) and not isinstance(args[0], OnGpu):
                self._upload(made, False)
            return made.as_subclass(OnGpu)
        made = made.as_subclass(torch.Tensor)
        if pinned:
            made.pinned = True
        return made


@functools.cache
def library() -> ctypes.CDLL:
    """Return the driver, built against the cuda.h that Triton has."""
    triton = importlib.util.find_spec("triton")
    header = Path(str(triton and triton.origin)).parent / "backends" / "nvidia" / "include" / "cuda.h"
    if cuda_shim.COMPILER is None or not header.is_file():
        pytest.skip("g++ or the cuda.h of Triton is not installed")
    text = Path(__file__).with_name("driver.cpp").read_text()
    driver = cuda_shim.compiled(text.replace("<cuda.h>", f'"{header}"'), ())
    driver.gpu_load.restype = ctypes.c_void_p
    return driver


class CompileException(Exception):
    """The error of a compilation by CuPy."""


class CuPy(ModuleType):
    """The parts of CuPy that the project uses; kernels are compiled by g++ and launched by the driver.

    `error` is raised by the next compilation.
    """

    def __init__(self, driver: ctypes.CDLL) -> None:
        super().__init__("cupy")
        self.__spec__ = importlib.machinery.ModuleSpec("cupy", None)
        self.driver, self.error, self.compiled = driver, None, []
        self.cuda = SimpleNamespace(
            Device=lambda device: contextlib.nullcontext(),
            compiler=SimpleNamespace(CompileException=CompileException),
            runtime=SimpleNamespace(getDeviceCount=lambda: 1),
            nvrtc=SimpleNamespace(getVersion=lambda: (13, 0)),
        )

    def RawModule(self, code: str, options: tuple[str, ...]) -> Any:
        if self.error:
            error, self.error = self.error, None
            raise error
        return SimpleNamespace(get_function=lambda name: Function(self.driver, *_compiled(code, options), name))


@functools.cache
def _compiled(code: str, options: tuple[str, ...]) -> tuple[ctypes.CDLL, dict[str, str]]:
    macros = dict(option[2:].split("=", 1) for option in options if option.startswith("-D"))
    assert {option for option in options if not option.startswith("-D")} == {"-std=c++17"}
    text = code.replace('#include "shim.h"', '#include "_cuda/shim.h"')
    assert not re.search(r'#include "(?!_cuda/shim\.h")', text)
    return cuda_shim.compiled(text + cuda_shim.exports(text), tuple(macros.items())), macros


class Function:
    """A kernel, as CuPy's RawKernel."""

    def __init__(self, driver: ctypes.CDLL, code: ctypes.CDLL, macros: dict[str, str], name: str) -> None:
        self._driver = driver
        launch = ctypes.cast(getattr(code, f"launch_{name}"), ctypes.c_void_p)
        cluster = int(macros["SPLIT"]) * int(macros["LANES"]) if name == "train_steps" else 1
        size = getattr(code, f"argument_bytes_{name}")()
        self.kernel = SimpleNamespace(ptr=driver.gpu_load(launch, size, int(macros["THREADS"]), cluster))

    def _set_shared(self, size: int) -> None:
        error = self._driver.cuFuncSetAttribute(ctypes.c_void_p(self.kernel.ptr), 8, size)
        if error:
            raise RuntimeError(f"CUDADriverError {error}")

    max_dynamic_shared_size_bytes = property(None, _set_shared)


class PretendGpu(SimpleNamespace):
    """The machine, its CuPy and its driver."""

    machine: Machine
    cupy: CuPy
    driver: ctypes.CDLL

    def launches(self) -> list[tuple[int, int, bool]]:
        """Return the launches so far: blocks, blocks of a cluster, and whether it was cooperative."""
        count = self.driver.gpu_launches(None)
        numbers = (ctypes.c_int * (3 * count))()
        self.driver.gpu_launches(numbers)
        return [(numbers[i], numbers[i + 1], bool(numbers[i + 2])) for i in range(0, 3 * count, 3)]

    def fail(self, call: str, error: int) -> None:
        """Let the next call of a function of the driver fail, or with "kernel" the next kernel while it runs."""
        self.driver.gpu_fail(call.encode(), error)


CACHES = (
    common.device_limits,
    common.cupy_failure,
    common._driver,
    common._compiled_for,
    cuda.prepared,
    registry.backends,
    registry._fastest,
    registry._log_once,
    registry._warn_once,
)


@contextlib.contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch, multiprocessors: int = 3, shared: int = 232448) -> Iterator[PretendGpu]:
    """Run with a GPU of compute capability 9.0, CuPy, and no Triton."""
    driver = library()
    driver.gpu_start(multiprocessors, ctypes.c_size_t(shared), ctypes.c_void_p(STREAM))
    cupy, load, installed = CuPy(driver), ctypes.CDLL, registry._installed
    properties = SimpleNamespace(
        major=9, minor=0, shared_memory_per_block_optin=shared, multi_processor_count=multiprocessors
    )
    stand_ins = {
        "is_available": lambda: True,
        "get_device_name": lambda device=None: "a pretended GPU",
        "get_device_properties": lambda device=None: properties,
        "current_device": lambda: 0,
        "current_stream": lambda device=None: SimpleNamespace(cuda_stream=STREAM),
        "device": lambda device: contextlib.nullcontext(),
    }
    for name, function in stand_ins.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(registry, "_installed", lambda module: module != "triton" and installed(module))
    monkeypatch.setattr(ctypes, "CDLL", lambda name, *more: driver if name == "libcuda.so.1" else load(name, *more))
    monkeypatch.setattr(registry, "_failures", {})
    for cache in CACHES:
        cache.cache_clear()
    try:
        with Machine(driver) as machine:
            yield PretendGpu(machine=machine, cupy=cupy, driver=driver)
    finally:
        for cache in CACHES:
            cache.cache_clear()
