"""Products in TF32 in the interpreter, with operands truncated as tensor cores truncate them."""

import importlib

import numpy as np
import pytest
import torch
from triton._C.libtriton import ir
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

from partae_fast.conformance.tolerances import TOLERANCES
from partae_fast.kernels import implementation
from partae_fast.kernels._triton.common import launch, product, tl, to_tf32, triton
from partae_fast.kernels.tf32 import tf32

from .train_steps import triton_interpreted as steps

KEPT = np.uint32(0xFFFFE000)  # the bits of a float32 that a tensor core reads in TF32


@pytest.fixture(autouse=True)
def truncating(monkeypatch):
    """Truncate the operands of products in TF32; the interpreter would multiply them in float32."""
    exact = InterpreterBuilder.create_dot

    def truncated(operand):
        return TensorHandle((operand.data.view(np.uint32) & KEPT).view(np.float32), operand.dtype)

    def dot(builder, a, b, total, precision, imprecise):
        if precision == ir.INPUT_PRECISION.TF32 and a.data.dtype == np.float32:
            a, b = truncated(a), truncated(b)
        return exact(builder, a, b, total, precision, imprecise)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", dot)


PASSES = [
    ("encode", "encode"),
    ("conv2d_pool", "conv2d_pool"),
    ("upsample_conv2d", "upsample_conv2d"),
    ("dense", "dense"),
    ("affinity", "affinity_loss"),
]


@pytest.mark.parametrize(("op", "op_pass"), PASSES)
def test_ops_are_accurate_in_tf32(op, op_pass):
    """Truncated operands would leave 1.1e-3 in encode, 1.7e-3 in conv2d_pool and 5e-3 in affinity."""
    checks, module = importlib.import_module(f"partae_fast.conformance.{op}"), implementation(op, "triton")
    tolerance, device = TOLERANCES["tf32"], torch.device("cpu")
    skipped = getattr(checks, "UNINTERPRETED", ())
    cases = [case for case in checks.TINY if case.name not in skipped]
    with tf32(True), np.errstate(all="ignore"):  # NaN and infinity are intended
        for case in cases[::3]:  # `verify` has all of them in float32
            errors = getattr(checks, op_pass)(case, module, torch.float32, device, tolerance, False)
            assert max(errors.values()) <= tolerance, (case.name, errors)


def test_training_steps_are_accurate_in_tf32():
    """Truncated operands would make all activations smaller: an error of 5e-4 in the loss."""
    problem = steps.Problem(2, 12, 8, 20, 3, 1, rule="sgd")
    run = problem.run()
    with tf32(True):
        losses = steps.triton.train_steps([run], steps.FIRST, 1)
    steps.agree("loss", losses[0], np.array(problem.truth(1)[1]), 5e-5)


@triton.jit
def round_kernel(out_ptr, x_ptr, SIZE: tl.constexpr):
    offs = tl.arange(0, SIZE)
    tl.store(out_ptr + offs, to_tf32(tl.load(x_ptr + offs)))


def test_numbers_are_rounded_to_ten_bits_of_mantissa():
    ulp = 2.0**-10
    expected = {
        1.0: 1.0,
        1.0 + 0.49 * ulp: 1.0,
        1.0 + 0.5 * ulp: 1.0 + ulp,  # half goes away from zero
        -1.0 - 0.5 * ulp: -1.0 - ulp,
        -1.0 - 0.49 * ulp: -1.0,
        2.0 - 0.25 * ulp: 2.0,
        0.0: 0.0,
        float("inf"): float("inf"),
        -float("inf"): -float("inf"),
        3.4028235e38: float("inf"),
        1e-45: 0.0,
    }
    x, out = torch.tensor([*expected, float("nan"), 0, 0, 0, 0]), torch.empty(16)
    launch(round_kernel, 1, out_ptr=out, x_ptr=x, SIZE=16)
    assert out[: len(expected)].tolist() == torch.tensor([*expected.values()]).tolist()
    assert out[len(expected)].isnan()
    # The NaN that a GPU makes, all bits set: adding to them would give -0.
    x = torch.full((16,), 0x7FFFFFFF, dtype=torch.int32).view(torch.float32)
    launch(round_kernel, 1, out_ptr=out, x_ptr=x, SIZE=16)
    assert out.isnan().all()


@triton.jit
def product_kernel(out_ptr, x_ptr, PRECISION: tl.constexpr):
    offs = tl.arange(0, 16)[:, None] * 16 + tl.arange(0, 16)[None, :]
    x = tl.load(x_ptr + offs)
    tl.store(out_ptr + offs, product(x, x, tl.zeros((16, 16), tl.float32), PRECISION))


@pytest.mark.parametrize(("precision", "least", "most"), [("tf32", 1e-5, 5e-4), ("ieee", 0, 1e-6)])
def test_only_products_in_tf32_are_rounded(precision, least, most):
    x, out = torch.rand(16, 16, generator=torch.Generator().manual_seed(0)), torch.empty(16, 16)
    launch(product_kernel, 1, out_ptr=out, x_ptr=x, PRECISION=precision)
    expected = x.double() @ x.double()
    assert least <= ((out - expected).norm() / expected.norm()).item() <= most
