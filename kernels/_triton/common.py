"""Code that the Triton implementations share: launches, the precision of products, sums of partial sums."""

import contextlib
import os
import subprocess

import torch
from torch import Tensor

# Products and sums fuse into one FMA. Triton reads this on import, and warns from 3.9 on if it is unset.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import triton
import triton.language as tl
from triton.errors import TritonError
from triton.runtime.errors import OutOfResources

from ..registry import BackendFailed, BackendUnavailable, interpreting, one_line
from ..tf32 import Switch, tf32_allowed

PROGRAMS_MAX = 2**31 - 1  # CUDA's limit on the first axis of a grid
PASS_PARTS_MAX = 2048  # programs that store a partial sum: enough to fill a GPU, few enough to add at once


def launch(kernel, programs: int, /, **arguments) -> None:
    """Run `kernel` with `programs` programs on the device of its tensors; arguments and compiler options by name."""
    device = next(argument.device for argument in arguments.values() if isinstance(argument, Tensor))
    name = kernel.fn.__name__
    if programs > PROGRAMS_MAX:
        raise ValueError(f"{name} would need {programs} programs and a launch has at most 2^31 - 1; split the batch")
    here = torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
    try:
        with here:
            kernel[(programs,)](**arguments)
    except OutOfResources as error:
        raise BackendUnavailable(
            f"{name} needs {error.required} of {error.name}, this GPU has {error.limit}; use backend='eager'"
        ) from error
    except Exception as error:
        if not _before_it_ran(error):
            raise
        raise BackendFailed(f"{name} cannot be compiled or launched: {one_line(error)}; use backend='eager'") from error


# In errors of a kernel that ran before: no kernel of this process can run any more.
FATAL = (
    "illegal",
    "misaligned address",
    "launch failure",
    "timed out",
    "device-side assert",
    "hardware stack error",
    "address space",
    "program counter",
    "uncorrectable",
    "context is destroyed",
)


def _before_it_ran(error: Exception) -> bool:
    """Return whether an error is one of the compiler or the driver, and another back-end may still run."""
    if interpreting():
        return False
    if isinstance(error, (TritonError, OSError, subprocess.SubprocessError)):
        return True
    return type(error) is RuntimeError and not any(word in str(error).lower() for word in FATAL)


def check_counts(**counts: int) -> None:
    """Raise ValueError for a count that 32-bit indices in the kernels cannot hold."""
    for name, count in counts.items():
        if count >= 2**30:
            raise ValueError(f"{name} is {count} and the triton back-end takes fewer than 2^30; split the input")


def power_of_two(count: int, least: int, most: int) -> int:
    """Return the smallest power of two >= `count`, clamped to [least, most]."""
    return min(max(triton.next_power_of_2(count), least), most)


def tensor_cores(x: Tensor, switch: Switch) -> bool:
    """Return whether products of `x` may run on tensor cores: float32 only if PyTorch's switch allows TF32."""
    return x.dtype != torch.float32 or tf32_allowed(switch)


def precision_of(x: Tensor, switch: Switch) -> str:
    """Return the `input_precision` of `tl.dot` for `x`."""
    return "tf32" if tensor_cores(x, switch) else "ieee"


if interpreting():

    @triton.jit
    def to_tf32(x):
        """Return float32 numbers with the bits that `cvt.rna.tf32.f32` gives: half is rounded away from zero."""
        bits = x.to(tl.int32, bitcast=True)
        finite = (bits & 0x7F800000) != 0x7F800000
        return tl.where(finite, (bits + 0x1000) & -0x2000, bits).to(tl.float32, bitcast=True)

else:

    @triton.jit
    def to_tf32(x):
        """Return float32 numbers rounded to TF32: 10 bits of mantissa, half away from zero."""
        return tl.inline_asm_elementwise(
            "cvt.rna.tf32.f32 $0, $1;", "=r,r", [x], dtype=tl.float32, is_pure=True, pack=1
        )


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):
    """Return total + a @ b. In TF32 the operands are rounded, which tensor cores would truncate: twice the error."""
    if PRECISION == "tf32" and a.dtype == tl.float32:
        a = to_tf32(a)
        b = to_tf32(b)
    return tl.dot(a, b, total, input_precision=PRECISION)


@triton.jit
def in_unit(share):
    """Return `share` with NaN in place of values outside [0, 1]: raising would synchronize the stream."""
    return tl.where((share >= 0) & (share <= 1), share, float("nan"))


@triton.jit(do_not_specialize=["parts"])
def add_up_kernel(total_ptr, partials_ptr, parts, size, BLOCK_PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """Sum partials[part, i] over part into total[i], in an order that depends on `parts` only."""
    offs_i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask_i = offs_i < size
    sums = tl.zeros((BLOCK_PARTS, BLOCK), tl.float32)
    for first in range(0, parts, BLOCK_PARTS):
        offs_part = first + tl.arange(0, BLOCK_PARTS)
        partial_ptrs = partials_ptr + offs_part[:, None].to(tl.int64) * size + offs_i[None, :]
        sums += tl.load(partial_ptrs, mask=(offs_part < parts)[:, None] & mask_i[None, :], other=0.0)
    total = tl.sum(sums, axis=0)
    tl.store(total_ptr + offs_i, total.to(total_ptr.dtype.element_ty), mask=mask_i)


# Many parts at a time hide the latency of memory; few sums spread 9216 weights over 288 programs.
ADD_UP = {"BLOCK_PARTS": 64, "BLOCK": 32, "num_warps": 4}


def add_up(partials: Tensor, total: Tensor) -> Tensor:
    """Fill `total` with the sum over parts of `partials` (parts, *total.shape) float32, and return it."""
    size = total.numel()
    launch(
        add_up_kernel,
        triton.cdiv(size, ADD_UP["BLOCK"]),
        total_ptr=total,
        partials_ptr=partials,
        parts=partials.shape[0],
        size=size,
        **ADD_UP,
    )
    return total
