"""Errors of Triton's compiler and launches, outside the interpreter."""

import subprocess

import pytest
import torch

from partae_fast.kernels.registry import BackendFailed, BackendUnavailable

pytest.importorskip("triton")

from triton.runtime.errors import OutOfResources, PTXASError

from partae_fast.kernels._triton import common


class Failing:
    """A kernel whose launch raises."""

    def __init__(self, error: Exception):
        self.error = error

    def fn(self):
        """Only the name of the Python function is used."""

    def __getitem__(self, grid):
        def launch(**arguments):
            raise self.error

        return launch


def launch(error: Exception) -> None:
    common.launch(Failing(error), 1, out_ptr=torch.zeros(1))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
        RuntimeError("Triton Error [CUDA]: no kernel image is available for execution on the device"),
        PTXASError("Internal Triton PTX codegen error\n`ptxas` stderr:\n"),
        subprocess.CalledProcessError(1, "gcc"),
        FileNotFoundError("ptxas"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_kernel_that_cannot_run_is_reported_in_one_line(error):
    with pytest.raises(BackendFailed, match=r"^fn cannot be compiled or launched: [^\n]+; use backend='eager'$"):
        launch(error)


def test_a_kernel_that_does_not_fit_may_fit_in_another_size():
    with pytest.raises(BackendUnavailable, match="needs 300000 of shared memory") as raised:
        launch(OutOfResources(300000, 232448, "shared memory"))
    assert not isinstance(raised.value, BackendFailed)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
        RuntimeError("Triton Error [CUDA]: unspecified launch failure"),
        torch.OutOfMemoryError("CUDA out of memory"),
        TypeError("unexpected keyword argument"),
    ],
    ids=str,
)
def test_errors_that_no_other_back_end_would_avoid_pass_unchanged(error):
    with pytest.raises(type(error)) as raised:
        launch(error)
    assert raised.value is error
