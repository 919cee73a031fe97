"""Tests of machines without a usable GPU, driver or CuPy."""

import sys
from types import SimpleNamespace

import pytest
import torch

import partae_fast as pf
from partae_fast.kernels import BackendUnavailable, registry
from partae_fast.kernels._cuda import common
from partae_fast.kernels.train_steps import cuda

CUDA = torch.device("cuda")


@pytest.fixture
def machine(monkeypatch):
    """Return machine(gpu), which simulates a machine with all back-ends.

    It returns `pf.backends()` of that machine.
    """
    caches = (registry.backends, registry._fastest, common.cupy_failure)

    def make(gpu):
        monkeypatch.setattr(registry, "_installed", lambda module: True)
        monkeypatch.setattr(registry, "interpreting", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")
        for cache in caches:
            cache.cache_clear()
        return pf.backends()

    yield make
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_no_gpu_or_a_driver_too_old_for_pytorch(machine, name):
    """PyTorch reports no CUDA device in both cases."""
    assert not machine(gpu=False)[name].available
    with pytest.raises(BackendUnavailable, match="PyTorch sees no CUDA device; run on a machine with an NVIDIA GPU"):
        registry.resolve("train_steps", name, CUDA, torch.float32)
    assert registry.resolve("encode", "auto", torch.device("cpu"), torch.float32) == "cpu"


def insufficient():
    raise RuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient\n for CUDA runtime version")


def no_library():
    raise ImportError("libnvrtc.so.13: cannot open shared object file: No such file or directory")


def usable():
    return 1


FAULTS = {
    "import fails": (None, "import of cupy halted"),
    "old driver": ((insufficient, usable), "CUDA driver version is insufficient for CUDA runtime version"),
    "no compiler": ((usable, no_library), "libnvrtc.so.13: cannot open"),
}


@pytest.mark.parametrize(("cupy", "message"), FAULTS.values(), ids=FAULTS)
def test_unusable_cupy(machine, monkeypatch, cupy, message):
    if cupy is not None:
        runtime, nvrtc = SimpleNamespace(getDeviceCount=cupy[0]), SimpleNamespace(getVersion=cupy[1])
        cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime, nvrtc=nvrtc))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    monkeypatch.setattr(cuda, "installed", lambda: True)
    assert machine(gpu=True)["cuda"].available
    crops = SimpleNamespace(source=SimpleNamespace(dtype=torch.float32), target=None)
    run = SimpleNamespace(w_enc=SimpleNamespace(device=CUDA, dtype=torch.float32), crops=crops)

    def refuses(module):
        return module.refusal([run]) if module is cuda else None

    with pytest.raises(BackendUnavailable, match=r"cupy cannot be used.*; update the driver, install") as error:
        registry.resolve("train_steps", "cuda", CUDA, torch.float32, refuses)
    assert message in str(error.value) and "\n" not in str(error.value)
    monkeypatch.setattr(registry, "implementation", lambda op, backend: cuda if backend == "cuda" else None)
    assert registry.resolve("train_steps", "auto", CUDA, torch.float32, refuses, "cuda") == "triton"


def test_usable_cupy(machine, monkeypatch):
    part = SimpleNamespace(getDeviceCount=usable, getVersion=usable)
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=SimpleNamespace(runtime=part, nvrtc=part)))
    machine(gpu=True)
    assert common.cupy_failure() is None
