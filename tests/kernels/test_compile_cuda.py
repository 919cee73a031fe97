"""The ahead-of-time compilation of CUDA C reports kernels that spill or do not compile."""

import inspect
import re
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
sys.path.insert(0, str(Path(__file__).parents[1]))

import compile_cuda
from compile_triton import cuobjdump

pytestmark = pytest.mark.skipif(
    compile_cuda.nvrtc() is None and shutil.which("nvcc") is None, reason="neither NVRTC nor nvcc is installed"
)

KERNEL = """
extern "C" __global__ void __launch_bounds__(1024, 2) copy(float* out, const float* from) {
    float numbers[SIZE];
    #pragma unroll
    for (int i = 0; i < SIZE; ++i) numbers[i] = from[i * 1024 + threadIdx.x];
    __syncthreads();
    #pragma unroll
    for (int i = 0; i < SIZE; ++i) out[i * 1024 + threadIdx.x] = numbers[i];
}
"""


def test_a_spill_is_reported():
    small = compile_cuda.usage(KERNEL, {"SIZE": 8}, 90, 0)
    large = compile_cuda.usage(KERNEL, {"SIZE": 100}, 90, 0)
    assert small.stack == 0 and small.registers <= 32 and small.instructions["LDG.E"] == 8
    assert large.stack > 0


def test_a_compile_error_is_reported():
    with pytest.raises(RuntimeError, match="SIZE"):
        compile_cuda.cubin(KERNEL, {}, 90)


def test_only_kernels_with_patience_read_a_clock_and_trap():
    shape, limits = compile_cuda.SIZES["B16 N512 H32 K32 M9 P16"], compile_cuda.CARDS[90]
    cut = compile_cuda.plan(shape, limits)
    assert cut is not None
    for patience in (0, 1000):
        text = compile_cuda.source("train_steps/train_steps.cuh")
        usage = compile_cuda.usage(text, cut.macros() | {"PATIENCE": patience}, 90, cut.shared_bytes(1))
        assert usage.stack == 0 and ("BPT.TRAP" in usage.instructions) == (patience > 0)


@pytest.mark.parametrize("compiler", ["NVRTC", "nvcc"])
def test_numbers_below_the_normal_range_are_zero_as_cupy_compiles(compiler, monkeypatch):
    if compiler == "nvcc":
        if shutil.which("nvcc") is None:
            pytest.skip("nvcc is not installed")
        monkeypatch.setenv(compile_cuda.COMPILER, "nvcc")
    elif compile_cuda.nvrtc() is None:
        pytest.skip("NVRTC is not installed")
    text = 'extern "C" __global__ void multiply(float* x) { *x *= 3.0f; }'
    assert "FMUL.FTZ" in compile_cuda.usage(text, {}, 90, 0).instructions


def test_the_options_are_those_of_an_installed_cupy():
    compiler = inspect.getsource(pytest.importorskip("cupy").cuda.compiler)
    assert all(f"'{option}'" in compiler for option in compile_cuda.CUPY_OPTIONS)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc is not installed")
@pytest.mark.skipif(compile_cuda.nvrtc() is None, reason="NVRTC is not installed")
def test_nvcc_replaces_nvrtc(monkeypatch):
    monkeypatch.setenv(compile_cuda.COMPILER, "nvcc")
    assert compile_cuda.usage(KERNEL, {"SIZE": 100}, 90, 0).stack > 0
    check_the_paper_configuration(90, ())


@pytest.mark.parametrize(("architecture", "extras"), [(80, ()), (90, compile_cuda.EXTRAS), (120, ())], ids=str)
def test_the_paper_configuration_does_not_spill(architecture, extras):
    """`compile_cuda.py`, which `.ci/run` runs, compiles it for every card, with and without the extras."""
    check_the_paper_configuration(architecture, extras)


def check_the_paper_configuration(architecture, extras):
    shape, limits = compile_cuda.SIZES["B16 N512 H32 K32 M9 P16"], compile_cuda.CARDS[architecture]
    cut = compile_cuda.plan(shape, limits, extras=extras)
    assert cut is not None and cut.extras == extras
    compiled = compile_cuda.compile_plan(cut, architecture)
    assert compiled.stack == 0 and compiled.registers <= 255


def machine_code(precision: str) -> list[tuple[int, str, str]]:
    """Return address, instruction and operands of the persistent kernel for the paper's shape on an H200."""
    shape, limits = compile_cuda.SIZES["B16 N512 H32 K32 M9 P16"], compile_cuda.CARDS[90]
    cut = compile_cuda.plan(shape, limits, precision=precision)
    assert cut is not None and cut.split == 2
    text = cuobjdump("-sass", compile_cuda.compile_plan(cut, 90).cubin)
    lines = re.findall(r"^\s+/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+ )?([A-Z0-9_.]+)(.*?);", text, re.MULTILINE)
    return [(int(address, 16), name, operands) for address, name, operands in lines]


@pytest.mark.parametrize("precision", ["ffma", "3xtf32"])
def test_the_machine_code_orders_memory_and_multiplies(precision):
    """Each arrival at a barrier follows a fence, and after each wait the first-level cache is invalidated."""
    code = machine_code(precision)
    names = [name for _, name, _ in code]
    arrivals = [i for i, name in enumerate(names) if name.startswith("RED") or name == "UCGABAR_ARV"]
    assert len(arrivals) == 2 + 2  # of the grid, in a step; of the cluster, in a tile
    for i in arrivals:
        assert "MEMBAR.ALL.GPU" in names[i - 4 : i], code[i - 4 : i + 1]
    waits = [i for i, name in enumerate(names) if name == "UCGABAR_WAIT"]
    waits += [i for i in range(len(names) - 1) if names[i] == "LDG.E.STRONG.GPU" and names[i + 1] == "CCTL.IVALL"]
    assert len(waits) == 4 and all("CCTL.IVALL" in names[i + 1 : i + 3] for i in waits)
    assert not [name for name in names if "CONSTANT" in name]  # loads that may see what was there before the launch
    share, kind = busiest_loop(code, "FFMA" if precision == "ffma" else "HMMA")
    assert share >= 0.85 if precision == "ffma" else kind >= 18, (share, kind)


def busiest_loop(code: list[tuple[int, str, str]], kind: str) -> tuple[float, int]:
    """Return the share and the number of `kind` in the innermost loop that has most of them."""
    loops = []
    for address, name, operands in code:
        target = re.search(r"0x([0-9a-f]+)", operands) if name.startswith("BRA") else None
        if target and int(target[1], 16) < address:
            loops.append((int(target[1], 16), address))
    innermost = [(a, b) for a, b in loops if not any((a, b) != (c, d) and a <= c and d <= b for c, d in loops)]
    bodies = [[name for address, name, _ in code if begin <= address <= end] for begin, end in innermost]
    count, length = max((sum(name.startswith(kind) for name in body), len(body)) for body in bodies)
    return count / length, count


def test_the_kernels_of_single_ops_do_not_spill():
    kernels = compile_cuda.op_kernels("B16 N512 H32 K32 M9 P16")
    assert {kernel.name for kernel in kernels} >= {"encode", "encode_gradient_x", "decode", "decode_gradients"}
    for kernel in kernels:
        if kernel.name in ("encode", "decode", "decode_gradients"):
            usage = kernel.compile(90)
            assert usage.stack == 0 and 0 < usage.registers <= 255 and kernel.shared <= 96 * 1024
