"""The ahead-of-time compilation of CUDA C reports kernels that spill or do not compile."""

import inspect
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")
sys.path.insert(0, str(Path(__file__).parents[1]))

import compile_cuda

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


@pytest.mark.parametrize("extras", [(), compile_cuda.EXTRAS], ids=["plain", "all extras"])
@pytest.mark.parametrize("architecture", compile_cuda.CARDS)
def test_the_paper_configuration_does_not_spill(architecture, extras):
    check_the_paper_configuration(architecture, extras)


def check_the_paper_configuration(architecture, extras):
    shape, limits = compile_cuda.SIZES["B16 N512 H32 K32 M9 P16"], compile_cuda.CARDS[architecture]
    cut = compile_cuda.plan(shape, limits, extras=extras)
    assert cut is not None and cut.extras == extras
    compiled = compile_cuda.compile_plan(cut, architecture)
    assert compiled.stack == 0 and compiled.registers <= 255


def test_the_kernels_of_single_ops_do_not_spill():
    kernels = compile_cuda.op_kernels("B16 N512 H32 K32 M9 P16")
    assert {kernel.name for kernel in kernels} >= {"encode", "encode_gradient_x", "decode", "decode_gradients"}
    for kernel in kernels:
        if kernel.name in ("encode", "decode", "decode_gradients"):
            usage = kernel.compile(90)
            assert usage.stack == 0 and 0 < usage.registers <= 255 and kernel.shared <= 96 * 1024
