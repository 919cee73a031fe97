"""The Triton kernels without a GPU: `triton_interpreted*.py` in a process with Triton's interpreter."""

import importlib.util
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")

FILES = map(str, sorted(Path(__file__).parent.glob("triton_interpreted*.py")))


@pytest.mark.slow
def test_kernels_through_the_interpreter(python):
    run = python("-m", "pytest", "-x", *FILES, TRITON_INTERPRET="1")
    assert run.returncode == 0, run.stdout + run.stderr
