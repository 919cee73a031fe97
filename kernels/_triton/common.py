"""What the Triton implementations share: how kernels are launched and multiply, how partial sums are added up."""

import contextlib
import os

import torch
from torch import Tensor

# A product and a sum are one FMA. Triton reads this when it is imported, and warns from 3.9 on where it is unset.
os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")

import triton
import triton.language as tl
from triton.runtime.errors import OutOfResources

from ..registry import BackendUnavailable

PROGRAMS_MAX = 2**31 - 1  # CUDA's limit on the first axis of a grid
PASS_PARTS_MAX = 2048  # programs that leave a partial sum: enough to fill a GPU, few enough to add up at once


def launch(kernel, programs: int, /, **arguments) -> None:
    """Run `kernel` with `programs` programs on the device of its tensors; arguments and compiler's options by name."""
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


def check_counts(**counts: int) -> None:
    """Raises ValueError for a count that a 32-bit index inside the kernels could not hold."""
    for name, count in counts.items():
        if count >= 2**30:
            raise ValueError(f"{name} is {count} and the triton back-end takes fewer than 2^30; split the input")


def power_of_two(count: int, least: int, most: int) -> int:
    """The power of two that holds `count`, within [least, most]: a tile's side."""
    return min(max(triton.next_power_of_2(count), least), most)


def tensor_cores(x: Tensor) -> bool:
    """Whether products of `x` may run on tensor cores: float32, as TF32, only where PyTorch's own switch allows it."""
    return x.dtype != torch.float32 or bool(torch.backends.cuda.matmul.allow_tf32)


def precision_of(x: Tensor) -> str:
    """How `tl.dot` multiplies: its `input_precision`."""
    return "tf32" if tensor_cores(x) else "ieee"


@triton.jit
def in_unit(share):
    """NaN where a label or mask is outside [0, 1]: an error would have to wait for the stream."""
    return tl.where((share >= 0) & (share <= 1), share, float("nan"))


@triton.jit(do_not_specialize=["parts"])
def add_up_kernel(total_ptr, partials_ptr, parts, size, BLOCK_PARTS: tl.constexpr, BLOCK: tl.constexpr):
    """total[i] = sum over part of partials[part, i], in an order that `parts` alone decides."""
    offs_i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask_i = offs_i < size
    sums = tl.zeros((BLOCK_PARTS, BLOCK), tl.float32)
    for first in range(0, parts, BLOCK_PARTS):
        offs_part = first + tl.arange(0, BLOCK_PARTS)
        partial_ptrs = partials_ptr + offs_part[:, None].to(tl.int64) * size + offs_i[None, :]
        sums += tl.load(partial_ptrs, mask=(offs_part < parts)[:, None] & mask_i[None, :], other=0.0)
    total = tl.sum(sums, axis=0)
    tl.store(total_ptr + offs_i, total.to(total_ptr.dtype.element_ty), mask=mask_i)


# Many parts at once, for the latency of memory; few sums, so that 9216 weights spread over 288 programs.
ADD_UP = {"BLOCK_PARTS": 64, "BLOCK": 32, "num_warps": 4}


def add_up(partials: Tensor, total: Tensor) -> Tensor:
    """Fills `total` with the sum of `partials` (parts, *total.shape) float32 over parts."""
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
