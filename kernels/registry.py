"""The implementations of each op, whether they can run on this machine, and the choice among them."""

import contextlib
import functools
import importlib
import importlib.util
import logging
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch

logger = logging.getLogger("partae_fast")
Result = TypeVar("Result")


class BackendUnavailable(RuntimeError):
    """Raised if the requested back-end cannot run; the message says reason and what to do."""


class BackendFailed(BackendUnavailable):
    """Raised if a back-end cannot compile or launch its kernels, whatever the request."""


@dataclass(frozen=True)
class Backend:
    """Whether a back-end can run on this machine; `reason` says reason it cannot, or describes it."""

    available: bool
    reason: str


@dataclass(frozen=True)
class Op:
    """An op: its passes, its back-ends from the slowest to the fastest, and its types.

    Each implementation has a function for each pass. It accepts those of the op's types that its back-end accepts.
    """

    passes: tuple[str, ...]
    backends: tuple[str, ...]
    types: tuple[torch.dtype, ...]


# Storage types of each back-end; back-ends from the slowest to the fastest. Sums are float32 or wider in all of them.
DTYPES = {
    "eager": (torch.float32, torch.float64, torch.bfloat16, torch.float16),
    "cpu": (torch.float32, torch.float64),
    "triton": (torch.float32, torch.bfloat16, torch.float16),
    "cuda": (torch.float32,),
}


def _op(name: str) -> Op:
    """Return the op of the folder `name`, whose `__init__.py` has PASSES.

    It also has TYPES if the op does not take every type, and ORDER if its back-ends have another order than those of
    other ops.
    """
    package = importlib.import_module(f"{__package__}.{name}")
    files = {module.name for module in pkgutil.iter_modules(package.__path__)}
    types = getattr(package, "TYPES", DTYPES["eager"])
    order = getattr(package, "ORDER", tuple(DTYPES))
    return Op(package.PASSES, tuple(backend for backend in order if backend in files), types)


def _folders() -> list[str]:
    """Return the folders of ops; shared folders begin with an underscore."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name for module in modules if module.ispkg and not module.name.startswith("_"))


OPS = {name: _op(name) for name in _folders()}


def interpreting() -> bool:
    """Return whether Triton kernels run in Triton's interpreter, on the CPU (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.cache
def backends() -> dict[str, Backend]:
    """Return every back-end by name, with whether it can run on this machine and reason not.

    >>> backends()["eager"].available
    True
    """
    gpu = torch.cuda.is_available()
    no_gpu = "PyTorch sees no CUDA device; run on a machine with an NVIDIA GPU and a CUDA build of PyTorch"
    states = {
        "reference": Backend(True, "float64 NumPy, the truth that `partae verify` compares with"),
        "eager": Backend(True, "plain PyTorch, any device"),
    }
    if _installed("numba"):
        states["cpu"] = Backend(True, "fused Numba kernels on the CPU")
    else:
        states["cpu"] = Backend(False, "numba is not installed; pip install numba")
    if not _installed("triton"):
        states["triton"] = Backend(False, "triton is not installed; pip install triton (Linux)")
    elif interpreting():
        states["triton"] = Backend(True, "Triton kernels through the interpreter, on the CPU")
    elif not gpu:
        states["triton"] = Backend(False, no_gpu)
    else:
        states["triton"] = Backend(True, f"fused Triton kernels on {torch.cuda.get_device_name()}")
    if not _installed("cupy"):
        states["cuda"] = Backend(False, "cupy is not installed; pip install 'partae-fast[gpu]'")
    elif not gpu:
        states["cuda"] = Backend(False, no_gpu)
    else:
        states["cuda"] = Backend(True, f"CUDA C on {torch.cuda.get_device_name()}")
    return states


def _refusal(op: str, backend: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Return reason `backend` cannot run `op` on such tensors, or None if it can."""
    if (op, backend) in _candidates:
        return None
    if backend not in OPS[op].backends:
        return f"{op} has no {backend} implementation; it has {', '.join(OPS[op].backends)}"
    state = backends()[backend]
    if not state.available:
        return state.reason
    taken = [kind for kind in DTYPES[backend] if kind in OPS[op].types]
    if dtype not in taken:
        names = ", ".join(str(kind).removeprefix("torch.") for kind in taken)
        return f"it takes {names}, not {str(dtype).removeprefix('torch.')}; convert the input or use eager"
    device_type = {"cpu": "cpu", "triton": "cpu" if interpreting() else "cuda", "cuda": "cuda"}.get(
        backend, device.type
    )
    if device.type != device_type:
        return f"it needs tensors on a {device_type} device and these are on {device}; move them or use eager"
    return None


def resolve(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    refuses: Callable[[ModuleType], str | None] | None = None,
    preferred: str | None = None,
    passed_over: Mapping[str, str] | None = None,
) -> str:
    """Return the name of the back-end that runs `op` for tensors of `dtype` on `device`.

    "auto" selects `preferred` if it can run, else the fastest that can, and logs each choice once. Any other name is
    returned, or raises BackendUnavailable. `refuses` returns reason an implementation cannot run the request, or None.
    `passed_over` has back-ends that "auto" does not select, and why.
    """
    if backend != "auto":
        if backend not in backends() and (op, backend) not in _candidates:
            raise ValueError(f"backend {backend!r} is not known; choose auto or one of {', '.join(OPS[op].backends)}")
        refusal = _refusal(op, backend, device, dtype) or (refuses and refuses(implementation(op, backend)))
        if refusal:
            raise BackendUnavailable(f"back-end {backend} cannot run {op} here: {refusal}")
        return backend
    if refuses is None and not passed_over:
        return _fastest(op, device, dtype)
    return _first_able(op, device, dtype, refuses or (lambda module: None), preferred, passed_over or {})


@functools.cache
def _fastest(op: str, device: torch.device, dtype: torch.dtype) -> str:
    return _first_able(op, device, dtype, lambda module: None, None, {})


def _first_able(
    op: str,
    device: torch.device,
    dtype: torch.dtype,
    refuses: Callable[[ModuleType], str | None],
    preferred: str | None,
    passed_over: Mapping[str, str],
) -> str:
    refusals = []
    names = [name for name in OPS[op].backends[::-1] if name != preferred]
    for name in [preferred, *names] if preferred in OPS[op].backends else names:
        refusal = passed_over.get(name) or _failures.get((op, name, device)) or _refusal(op, name, device, dtype)
        refusal = refusal or refuses(implementation(op, name))
        if refusal is None:
            if name == "cpu" and not interpreting():
                refusals = []  # it is the best choice for tensors on the CPU
            reason = f" ({'; '.join(refusals)})" if refusals else ""
            with _one_at_a_time:
                _log_once(f"{op} on {device}, {dtype}: back-end {name}{reason}")
            return name
        refusals.append(f"not {name}: {refusal}")
    raise BackendUnavailable(f"no back-end can run {op}: {'; '.join(refusals)}")


def dispatch(
    op: str,
    backend: str,
    device: torch.device,
    dtype: torch.dtype,
    call: Callable[[ModuleType], Result],
    refuses: Callable[[ModuleType], str | None] | None = None,
    preferred: str | None = None,
) -> Result:
    """Return call(module), with the implementation that `resolve` selects.

    With "auto", an implementation that raises BackendUnavailable is passed over, with one warning: for this call, or if
    it raises BackendFailed for all later calls on the device.
    """
    passed_over: dict[str, str] = {}
    while True:
        name = resolve(op, backend, device, dtype, refuses, preferred, passed_over)
        try:
            return call(implementation(op, name))
        except BackendUnavailable as error:
            if backend != "auto":
                raise
            passed_over[name] = str(error)
            if isinstance(error, BackendFailed):
                _failures[op, name, device] = str(error)
                _fastest.cache_clear()
            with _one_at_a_time:
                _warn_once(f"{op} on {device}: back-end {name} is passed over: {error}")


_failures: dict[tuple[str, str, torch.device], str] = {}  # by op, back-end and device


# Threads that choose a back-end at the same time would all log it.
_one_at_a_time = threading.RLock()


@functools.cache
def _log_once(message: str) -> None:
    logger.info("%s", message)


@functools.cache
def _warn_once(message: str) -> None:
    logger.warning("%s", message)


def one_line(error: BaseException) -> str:
    """Return the first 300 characters of an error's message, in one line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def implementation(op: str, backend: str) -> ModuleType:
    """Return the module that implements `op` on `backend`; it is imported on first use."""
    return _candidates.get((op, backend)) or _module(op, backend)


@functools.cache
def _module(op: str, backend: str) -> ModuleType:
    return importlib.import_module(f"{__package__}.{op}.{backend}")


_candidates: dict[tuple[str, str], Any] = {}


@contextlib.contextmanager
def registered(op: str, name: str, module: Any) -> Iterator[None]:
    """Let `backend=name` run `op` by the functions of `module`, on any device; "auto" never selects it."""
    _candidates[op, name] = module
    try:
        yield
    finally:
        del _candidates[op, name]
