"""The ahead-of-time compilation of Triton reports kernels that spill."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

SPILLING = """
import sys
sys.path.insert(0, {folder!r})
import compile_triton
import triton
import triton.language as tl

@triton.jit
def copy_kernel(out_ptr, source_ptr, BLOCK: tl.constexpr):
    offs_i = tl.arange(0, BLOCK)
    numbers = tl.load(source_ptr + offs_i)
    tl.debug_barrier()
    tl.store(out_ptr + offs_i, numbers)

arguments = {{"out_ptr": "*fp32", "source_ptr": "*fp32"}}
small = compile_triton.compile_kernel(copy_kernel, arguments | {{"BLOCK": ("constexpr", 256)}}, 90, num_warps=1)
large = compile_triton.compile_kernel(copy_kernel, arguments | {{"BLOCK": ("constexpr", 16384)}}, 90, num_warps=1)
assert small.stack == 0 and small.registers < 64, small
assert small.instructions["LDG.E.128"] == 2, small
assert large.stack > 0, large
"""


def test_a_spill_is_reported(tmp_path):
    """Triton compiles functions from files, in a process that does not interpret."""
    script = tmp_path / "spilling.py"
    script.write_text(SPILLING.format(folder=str(Path(__file__).parents[1])))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
