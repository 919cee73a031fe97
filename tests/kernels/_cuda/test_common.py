"""Included sources, and launches through the driver."""

import pytest
import torch

from partae_fast.kernels._cuda import common
from partae_fast.kernels.registry import BackendUnavailable


def test_included_sources_are_inserted_without_the_shim():
    text = common.source("train_steps/train_steps.cuh")
    assert text.count("DEVICE unsigned int first_word(") == text.count("DEVICE void grid_wait(") == 1
    assert '#include "shim.h"' in text and "std::barrier" not in text.replace("#include", "")
    assert '.cuh"' not in text


class Driver:
    """A stand-in for libcuda that records the arguments of a launch and can return an error."""

    def __init__(self, status: int = 0):
        self.status, self.launched = status, common._Configuration()

    def cuLaunchKernelEx(self, configuration, function, arguments, extra):
        self.launched = configuration._obj
        return self.status

    def cuGetErrorName(self, status, name):
        name._obj.value = b"CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE"
        return 0


def launched(monkeypatch, driver: Driver) -> None:
    monkeypatch.setattr(common, "_driver", lambda: driver)
    kernel = common.Kernel("train_steps", 256, 4, 1000, True, 1, None)
    kernel.launch(128, torch.zeros(2).numpy(), 7)


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
