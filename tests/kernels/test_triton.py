"""The Triton kernels without a GPU: `triton_interpreted.py` in a process that interprets them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


def test_kernels_through_the_interpreter():
    file = Path(__file__).with_name("triton_interpreted.py")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", str(file)],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
