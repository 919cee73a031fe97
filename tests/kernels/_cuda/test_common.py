"""Included sources, compiling by CuPy, and queries and launches through the driver."""

import contextlib
import ctypes
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from partae_fast.kernels._cuda import common
from partae_fast.kernels.registry import BackendFailed, BackendUnavailable


def test_included_sources_are_inserted_without_the_shim():
    text = common.source("train_steps/train_steps.cuh")
    assert text.count("DEVICE unsigned int first_word(") == text.count("DEVICE void grid_wait(") == 1
    assert '#include "shim.h"' in text and "std::barrier" not in text.replace("#include", "")
    assert '.cuh"' not in text


class Driver:
    """A stand-in for libcuda that records the arguments of a launch and can return an error."""

    def __init__(self, status: int = 0):
        self.status, self.launched = status, common._Configuration()

    def cuOccupancyMaxActiveClusters(self, count, function, configuration):
        self.launched = configuration._obj
        count._obj.value = 5
        return self.status

    def cuOccupancyMaxActiveBlocksPerMultiprocessor(self, count, function, threads, shared):
        count._obj.value = 2
        return self.status

    def cuLaunchKernelEx(self, configuration, function, arguments, extra):
        self.launched = configuration._obj
        return self.status

    def cuGetErrorName(self, status, name):
        name._obj.value = b"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"
        return 0


def kernel_of(cluster: int = 4) -> common.Kernel:
    return common.Kernel("train_steps", 256, cluster, 1000, True, 1, None)


def launched(monkeypatch, driver: Driver) -> None:
    monkeypatch.setattr(common, "_driver", lambda: driver)
    kernel_of().launch(128, torch.zeros(2).numpy(), 7)


def test_a_launch_has_the_cluster_and_cooperative_attributes(monkeypatch):
    driver = Driver()
    launched(monkeypatch, driver)
    configuration = driver.launched
    assert list(configuration.grid) == [128, 1, 1] and list(configuration.block) == [256, 1, 1]
    assert (configuration.shared, configuration.stream) == (1000, 7)
    attributes_by_number = {
        configuration.attributes[i].number: list(configuration.attributes[i].value)[:3]
        for i in range(configuration.count)
    }
    assert attributes_by_number == {common.CLUSTER_DIMENSION: [4, 1, 1], common.COOPERATIVE: [1, 0, 0]}


def test_a_launch_error_names_its_sizes(monkeypatch):
    with pytest.raises(BackendUnavailable, match="128 blocks of 256 threads in clusters of 4, 1000 bytes"):
        launched(monkeypatch, Driver(720))


def test_a_launch_after_a_fatal_error_is_no_reason_for_another_back_end(monkeypatch):
    with pytest.raises(RuntimeError, match=r"because an earlier kernel failed: .*; restart the process") as raised:
        launched(monkeypatch, Driver(700))
    assert not isinstance(raised.value, BackendUnavailable)


def test_memory_may_suffice_another_time(monkeypatch):
    with pytest.raises(BackendUnavailable) as raised:
        launched(monkeypatch, Driver(common.OUT_OF_MEMORY))
    assert not isinstance(raised.value, BackendFailed)


def test_the_query_of_clusters_has_no_cooperative_attribute(monkeypatch):
    driver = Driver()
    monkeypatch.setattr(common, "_driver", lambda: driver)
    assert kernel_of().resident() == 5
    assert [driver.launched.attributes[i].number for i in range(driver.launched.count)] == [common.CLUSTER_DIMENSION]


def test_clusters_that_the_driver_refuses_are_not_resident(monkeypatch):
    monkeypatch.setattr(common, "_driver", lambda: Driver(1))
    assert kernel_of().resident() == 0
    monkeypatch.setattr(common, "_driver", lambda: Driver(719))
    with pytest.raises(RuntimeError, match="restart the process"):
        kernel_of().resident()


def test_a_query_that_fails_without_clusters_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(multi_processor_count=132))
    monkeypatch.setattr(common, "_driver", lambda: Driver())
    assert kernel_of(1).resident() == 132
    monkeypatch.setattr(common, "_driver", lambda: Driver(1))
    with pytest.raises(BackendFailed, match="count the blocks of train_steps that fit"):
        kernel_of(1).resident()


def test_a_missing_driver_is_named(monkeypatch):
    def missing(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    common._driver.cache_clear()
    with pytest.raises(BackendFailed, match=r"the CUDA driver cannot be loaded: libcuda.so.1"):
        kernel_of().resident()


class CompileException(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [RuntimeError("Failed to find CUDA headers.\nPlease install"), CompileException("error:\n x"), OSError("no NVRTC")],
    ids=lambda error: type(error).__name__,
)
def test_a_kernel_that_cupy_cannot_compile_is_reported_in_one_line(monkeypatch, error):
    def fail(**arguments):
        raise error

    parts = SimpleNamespace(
        Device=lambda device: contextlib.nullcontext(), compiler=SimpleNamespace(CompileException=CompileException)
    )
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=parts, RawModule=fail))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    with pytest.raises(BackendFailed, match=r"^train_steps with 1000 bytes .* cannot be prepared: [^\n]*$"):
        common.compiled("train_steps/train_steps.cuh", "train_steps", {}, 256, 1, 1000, True)


def test_a_kernel_of_an_op_is_compiled_once_whatever_its_shared_memory(monkeypatch):
    driver, calls = Driver(), []

    def compiled(*arguments, cooperative):
        calls.append(arguments)
        return kernel_of(1)

    monkeypatch.setattr(common, "compiled", compiled)
    monkeypatch.setattr(common, "_driver", lambda: driver)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(cuda_stream=7))
    common._compiled_for.cache_clear()
    for shared in (100, 200):
        common._start_on_gpu("encode/encode.cuh", "encode", (("THREADS", 256),), 3, shared, torch.zeros(2).numpy())
        configuration = driver.launched
        assert (configuration.shared, configuration.stream, list(configuration.grid)) == (shared, 7, [3, 1, 1])
    common._compiled_for.cache_clear()
    assert calls == [("encode/encode.cuh", "encode", {"THREADS": 256}, 256, 1, common.GPU.shared)]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"installed": False}, "cupy is not installed; pip install"),
        ({"installed": True, "cupy_failure": "cupy cannot be used (old driver)"}, "cupy cannot be used"),
        ({"installed": True, "device_limits": common.assumed_limits(75, 65536, 40)}, "capability 8.0 or higher"),
    ],
)
def test_a_gpu_that_cannot_run_the_kernels_is_refused(monkeypatch, change, says):
    states = {"cupy_failure": None, "device_limits": common.assumed_limits(90, 232448, 132), **change}
    for name, value in states.items():
        monkeypatch.setattr(common, name, lambda *arguments, value=value: value)
    tensor: Any = SimpleNamespace(device=torch.device("cuda", 0))
    with pytest.raises(BackendUnavailable, match=f"back-end cuda cannot run encode here: .*{says}"):
        common.target_for("encode", tensor)


def test_a_usable_gpu_runs_the_kernels(monkeypatch):
    monkeypatch.setattr(common, "installed", lambda: True)
    monkeypatch.setattr(common, "cupy_failure", lambda: None)
    monkeypatch.setattr(common, "device_limits", lambda device: common.assumed_limits(90, 232448, 132))
    tensor: Any = SimpleNamespace(device=torch.device("cuda", 0))
    assert common.target_for("encode", tensor) is common.GPU


def test_a_launch_of_too_many_blocks_is_refused():
    layout = common.structure("x", count="i4")
    with pytest.raises(ValueError, match=r"encode would need 2147483648 blocks .* split the batch"):
        common.launch(common.GPU, "", "encode", {}, blocks=2**31, shared=0, layout=layout, x=None, count=1)
