"""The width of vectors follows the processor that Numba compiles for."""

import llvmlite.binding
import pytest

from partae_fast.kernels._cpu.simd import registers

SCRIPT = """
import numpy as np
from partae_fast.kernels._cpu.jit import kernel
from partae_fast.kernels._cpu.simd import VECTOR_BYTES

@kernel
def double(x):
    for i in range(x.size):
        x[i] += x[i]

x = np.ones(32, np.float32)
double(x)
assert (x == 2).all()
print(VECTOR_BYTES, sum(double.stats.cache_hits.values()))
"""


@pytest.mark.parametrize(
    ("cpu", "features", "width_and_count"),
    [
        ("x86-64", "", (16, 16)),
        ("x86-64-v2", "", (16, 16)),
        ("x86-64-v3", "", (32, 16)),
        ("x86-64-v3", "-fma", (32, 16)),
        ("x86-64-v4", "", (64, 32)),
        ("znver4", "", (64, 32)),
        ("znver4", "-avx512f", (32, 16)),
        ("haswell", "-avx", (16, 16)),
    ],
)
def test_registers_of_x86(cpu, features, width_and_count):
    if not llvmlite.binding.get_process_triple().startswith("x86_64"):
        pytest.skip("LLVM generates code for the host's family only")
    assert registers(llvmlite.binding.get_process_triple(), cpu, features) == width_and_count


def test_each_target_has_code_of_its_own(tmp_path, python):
    """Two targets with one cache folder each compile their own code, with vectors of their own width."""
    if not llvmlite.binding.get_process_triple().startswith("x86_64"):
        pytest.skip("the targets are x86")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    kept = {"XDG_CACHE_HOME": str(tmp_path), "PYTHONPATH": "."}
    host = python(str(script), **kept)
    assert host.stdout.split()[1:] == ["0"], host.stderr
    lower = python(str(script), NUMBA_CPU_NAME="x86-64", NUMBA_CPU_FEATURES="", **kept)
    assert lower.stdout == "16 0\n", lower.stderr
    assert len(list(tmp_path.rglob("*double*.nbc"))) == 2
