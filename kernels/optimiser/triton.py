# pyright: reportPossiblyUnboundVariable=false, reportAssignmentType=false
# Branches on a constexpr are taken or left when a kernel is compiled, which a type checker does not follow.
"""The optimisers on a GPU, in Triton: an optimiser's state and the weight in one pass over memory.

`changed` is the arithmetic of the rules in RULES, for these kernels and for those that keep more steps than one on the
GPU; `changed_by_nadam` that of nadam.
A rule's `settings` are its options and what the step's number makes of them, all known before a weight is read.
"""

from torch import Tensor

from .._triton.common import check_counts, launch, tl, triton
from . import settings_at


@triton.jit
def changed(
    weight,
    gradient,
    first,
    second,
    RULE: tl.constexpr,
    rate,
    kept1,  # adadelta: rho; adam: beta1; sgd, nesterov: momentum
    added1,  # 1 - kept1
    kept2,  # adam: beta2
    added2,  # 1 - kept2
    correction,  # adam: 1 / (1 - beta2^t)
    small,  # epsilon
    decay,
):
    """Weight, first and second state tensor after a step, float32; with one state tensor the second is given back.

    adam's `rate` is the learning rate / (1 - beta1^t).
    """
    gradient += decay * weight
    if RULE == "adadelta":
        first = kept1 * first + added1 * gradient * gradient
        change = tl.sqrt_rn(second + small) / tl.sqrt_rn(first + small) * gradient
        second = kept1 * second + added1 * change * change
        weight -= rate * change
    elif RULE == "adam":
        first = kept1 * first + added1 * gradient
        second = kept2 * second + added2 * gradient * gradient
        weight -= rate * first / (tl.sqrt_rn(second * correction) + small)
    else:
        first = kept1 * first + gradient
        weight -= rate * (gradient + kept1 * first if RULE == "nesterov" else first)
    return weight, first, second


@triton.jit
def changed_by_nadam(
    weight, gradient, first, second, of_mean, kept1, added1, kept2, added2, correction, small, decay, of_gradient
):
    """Weight and both state tensors after a step of nadam, float32."""
    gradient += decay * weight
    first = kept1 * first + added1 * gradient
    second = kept2 * second + added2 * gradient * gradient
    weight -= (of_mean * first + of_gradient * gradient) / (tl.sqrt_rn(second * correction) + small)
    return weight, first, second


SETTINGS = ("rate", "kept1", "added1", "kept2", "added2", "correction", "small", "decay", "further")


@triton.jit(do_not_specialize=["size", *SETTINGS])
def optimiser_kernel(
    weight_ptr,  # all of them (size,)
    gradient_ptr,
    first_ptr,
    second_ptr,  # None where the rule has one state tensor
    size,
    rate,
    kept1,
    added1,
    kept2,
    added2,
    correction,
    small,
    decay,
    further,  # nadam: the rate of the gradient; clipped_sgd: the bound
    RULE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    offs_i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask_i = offs_i < size
    weight = tl.load(weight_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
    gradient = tl.load(gradient_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
    first = tl.load(first_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
    second = first
    if second_ptr is not None:
        second = tl.load(second_ptr + offs_i, mask=mask_i, other=0.0).to(tl.float32)
    if RULE == "nadam":
        weight, first, second = changed_by_nadam(
            weight, gradient, first, second, rate, kept1, added1, kept2, added2, correction, small, decay, further
        )
    else:
        plain: tl.constexpr = "sgd" if RULE == "clipped_sgd" else RULE
        weight, first, second = changed(
            weight, gradient, first, second, plain, rate, kept1, added1, kept2, added2, correction, small, decay
        )
        if RULE == "clipped_sgd":
            weight = tl.where(weight > further, further, tl.where(weight < -further, -further, weight))
    tl.store(weight_ptr + offs_i, weight.to(weight_ptr.dtype.element_ty), mask=mask_i)
    tl.store(first_ptr + offs_i, first.to(first_ptr.dtype.element_ty), mask=mask_i)
    if second_ptr is not None:
        tl.store(second_ptr + offs_i, second.to(second_ptr.dtype.element_ty), mask=mask_i)


TILE = {"BLOCK": 512, "num_warps": 4}


def _step(rule: str, weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict) -> None:
    size = weight.numel()
    check_counts(weights=size)
    written = weight, *state
    flat = [t.contiguous() for t in written]
    first, second = (*flat[1:], None)[:2]
    settings = (*settings_at(rule, step, options), 0.0)[: len(SETTINGS)]
    launch(
        optimiser_kernel,
        triton.cdiv(size, TILE["BLOCK"]),
        weight_ptr=flat[0],
        gradient_ptr=gradient.contiguous(),
        first_ptr=first,
        second_ptr=second,
        size=size,
        RULE=rule,
        **dict(zip(SETTINGS, settings, strict=True)),
        **TILE,
    )
    for kept, new in zip(written, flat, strict=True):
        if new is not kept:
            kept.copy_(new)


def adadelta(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("adadelta", weight, gradient, state, step, options)


def adam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("adam", weight, gradient, state, step, options)


def sgd(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("sgd", weight, gradient, state, step, options)


def nesterov(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("nesterov", weight, gradient, state, step, options)


def nadam(weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]) -> None:
    _step("nadam", weight, gradient, state, step, options)


def clipped_sgd(
    weight: Tensor, gradient: Tensor, state: tuple[Tensor, ...], step: int, options: dict[str, float]
) -> None:
    _step("clipped_sgd", weight, gradient, state, step, options)
