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


ROUNDING = """
import sys
sys.path.insert(0, {folder!r})
import compile_triton
from partae_fast.kernels._triton.common import product, tl, triton

@triton.jit
def product_kernel(out_ptr, source_ptr, PRECISION: tl.constexpr):
    offs = tl.arange(0, 32)[:, None] * 32 + tl.arange(0, 32)[None, :]
    x = tl.load(source_ptr + offs)
    total = product(x, x, tl.zeros((32, 32), tl.float32), PRECISION)
    tl.store(out_ptr + offs, total.to(out_ptr.dtype.element_ty))

for kind, precision in (("fp32", "tf32"), ("fp32", "ieee"), ("bf16", "tf32")):
    arguments = {{"out_ptr": "*" + kind, "source_ptr": "*" + kind, "PRECISION": ("constexpr", precision)}}
    usage = compile_triton.compile_kernel(product_kernel, arguments, 90, num_warps=1)
    rounded = "cvt.rna.tf32.f32" in usage.ptx
    assert rounded == ((kind, precision) == ("fp32", "tf32")), (kind, precision)
    assert ("HMMA.1688.F32.TF32" in usage.instructions) == rounded, usage.instructions
"""


@pytest.mark.parametrize("text", [SPILLING, ROUNDING], ids=["spills are reported", "operands are rounded to TF32"])
def test_machine_code(text, tmp_path):
    """Triton compiles functions from files, in a process that does not interpret."""
    script = tmp_path / "script.py"
    script.write_text(text.format(folder=str(Path(__file__).parents[1])))
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
