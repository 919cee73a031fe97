"""Run every case on every back-end; a failure names the cases and the quantities."""

import pytest
import torch

from partae_fast.conformance.verify import HOUSE, Thoroughness, row
from partae_fast.kernels import backends, implementation

NAMES = ("backend", "kind", "device")
IMPLEMENTATIONS = [
    ("eager", "float32", "cpu"),
    ("eager", "float64", "cpu"),
    ("eager", "bfloat16", "cpu"),
    ("eager", "float16", "cpu"),
    ("cpu", "float32", "cpu"),
    ("cpu", "float64", "cpu"),
    pytest.param("eager", "float32", "cuda", marks=pytest.mark.gpu),
    pytest.param("triton", "float32", "cuda", marks=pytest.mark.gpu),
    pytest.param("triton", "tf32", "cuda", marks=pytest.mark.gpu),
    pytest.param("triton", "bfloat16", "cuda", marks=pytest.mark.gpu),
    pytest.param("triton", "float16", "cuda", marks=pytest.mark.gpu),
]

in_cuda_c_too = pytest.mark.parametrize(
    NAMES, [*IMPLEMENTATIONS, pytest.param("cuda", "float32", "cuda", marks=pytest.mark.gpu)]
)
every_implementation = pytest.mark.parametrize(NAMES, IMPLEMENTATIONS)
# For ops that do not take float16.
every_wider_implementation = pytest.mark.parametrize(
    NAMES, [entry for entry in IMPLEMENTATIONS if "float16" not in getattr(entry, "values", entry)]
)


# Plain PyTorch has no tiles, so sizes beyond every tile and many calls are for `partae verify` alone.
BRIEF = Thoroughness(draws=1, times=20, beyond=())


def assert_conforms(op, op_pass, backend, kind, device, cases=50):
    assert backends()[backend].available, backends()[backend].reason
    thoroughness = BRIEF if backend == "eager" else HOUSE
    checked = row(op, op_pass, backend, implementation(op, backend), kind, torch.device(device), thoroughness)
    assert checked.failures == {}
    assert checked.cases >= (10 if backend == "eager" else cases)
