"""Single ops from the choice of the back-end through CuPy and the CUDA driver, on a GPU that does not exist."""

import logging
from collections.abc import Iterator

import pytest
import torch

from partae_fast.functional.common import kernels
from partae_fast.kernels.partitioned_loss import eager
from partae_fast.kernels.registry import BackendFailed

from .pretend_gpu import PretendGpu, pretended


@pytest.fixture
def gpu(monkeypatch) -> Iterator[PretendGpu]:
    with pretended(monkeypatch) as machine:
        yield machine


def arguments() -> list[torch.Tensor]:
    """Return reconstruction, target, values, noise_only and foreground on the CPU."""
    generator = torch.Generator().manual_seed(3)
    shapes = (2, 9, 5), (2, 9, 5), (2, 3, 4), (2,), (4,)
    return [torch.rand(shape, generator=generator) for shape in shapes]


def agree(on_gpu: list[torch.Tensor], backend: str) -> bool:
    """Return whether the loss and its gradients are those of eager on the CPU."""
    results = kernels("partitioned_loss", backend, on_gpu[0]).partitioned_loss(*on_gpu, 0.75)
    expected = eager.partitioned_loss(*arguments(), 0.75)
    return all(r.is_cuda and (r.cpu() - e).norm() <= 1e-6 * e.norm() for r, e in zip(results, expected, strict=True))


@pytest.mark.parametrize("backend", ["cuda", "auto"])
def test_an_op_is_launched_without_a_copy(gpu, backend):
    on_gpu = [tensor.to("cuda") for tensor in arguments()]
    gpu.machine.uploads.clear()
    assert agree(on_gpu, backend)
    assert gpu.launches() == [(2, 1, False), (1, 1, False)] and gpu.machine.uploads == []


@pytest.mark.parametrize("call", ["cuLaunchKernelEx", "cuFuncSetAttribute"])
def test_auto_goes_on_without_a_back_end_that_fails(gpu, call, caplog):
    on_gpu = [tensor.to("cuda") for tensor in arguments()]
    gpu.fail(call, 701)
    with pytest.raises(BackendFailed, match=r"^[^\n]*partitioned_loss with [^\n]*; use backend='triton' or 'eager'$"):
        agree(on_gpu, "cuda")
    gpu.fail(call, 701)
    with caplog.at_level(logging.WARNING, "partae_fast"):
        assert agree(on_gpu, "auto") and agree(on_gpu, "auto")
    assert gpu.launches() == [] and len(caplog.messages) == 1
