"""Code that the ops share: argument checks, autocast, choice of kernels, gradients returned with a loss."""

import math
import operator
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels import dispatch
from .custom_op import Op, autocast_enabled, transforms_active


def check_tensors(**tensors: Any) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            remedy = f"torch.from_numpy({name})" if isinstance(tensor, np.ndarray) else f"torch.tensor({name})"
            remedy = "a tensor; for an array, torch.from_numpy(array)" if tensor is None else remedy
            raise TypeError(f"{name} is {_described(tensor)} and must be a torch.Tensor; pass {remedy}")


def integer(name: str, value: Any) -> Any:
    """Return `value` as an int (or a symbolic int, in an exported program); raise TypeError if it is not one."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt, Integral)):
        raise TypeError(f"{name} is {_described(value)} and must be an int; pass a whole number, such as 16")
    return value if isinstance(value, (int, torch.SymInt)) else int(value)


def number(name: str, value: Any) -> float:
    """Return `value` as a float; raise TypeError for a bool, a string or a tensor."""
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymInt, torch.SymFloat, Real)):
        raise TypeError(
            f"{name} is {_described(value)} and must be a float; pass a number (for a tensor, {name}.item())"
        )
    return float(value)


def _described(value: Any) -> str:
    """Describe an argument in a few words, for an error."""
    kind = type(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def check_dimensions(**tensors: tuple[Tensor, str]) -> None:
    """Raise ValueError unless each tensor has the axes in its description, such as "B, N, H", each at least 1 long."""
    for name, (tensor, meaning) in tensors.items():
        if not isinstance(tensor, Tensor):
            check_tensors(**{name: tensor})
        shape = tensor.shape
        if len(shape) != meaning.count(",") + 1 or 0 in shape:
            raise ValueError(f"{name} is {tuple(shape)}; it must be ({meaning}), each at least 1")


def check_alike(**tensors: Tensor | None) -> None:
    """Raise ValueError unless all tensors have one floating-point type and one device."""
    dtype = None
    for tensor in tensors.values():
        if tensor is not None:
            dtype = tensor.dtype if dtype is None else dtype
            if tensor.dtype != dtype or not dtype.is_floating_point:
                kinds = {name: t.dtype for name, t in tensors.items() if t is not None}
                raise ValueError(f"types are {_listed(kinds)}; give all of one floating-point type")
    check_devices(**tensors)


def check_devices(**tensors: Tensor | None) -> None:
    device = None
    for tensor in tensors.values():
        if tensor is not None:
            device = tensor.device if device is None else device
            if tensor.device != device:
                devices = {name: t.device for name, t in tensors.items() if t is not None}
                raise ValueError(f"devices are {_listed(devices)}; move all tensors to one")


def _listed(items: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


def check_shares(**tensors: Tensor) -> None:
    """Raise ValueError for values outside [0, 1] in CPU memory; on a GPU the kernel makes them NaN."""
    for name, tensor in tensors.items():
        if tensor.is_cpu:
            low, high = (edge.item() for edge in torch.aminmax(tensor))
            if not 0 <= low <= high <= 1:  # false for NaN too
                raise ValueError(f"{name} has values from {low} to {high}; give values from 0 to 1")


def check_penalty(penalty: float) -> None:
    if not 0 <= penalty < math.inf:
        raise ValueError(f"penalty is {penalty}; give a finite number, 0 or above")


def autocast(*tensors: Tensor | None, dtype: torch.dtype | None = None) -> list[Any]:
    """Return the tensors cast to autocast's type on their device or, for a loss, to `dtype`.

    As in PyTorch's ops, float64 is not cast; nothing is cast if autocast is off.
    """
    first = tensors[0]
    assert first is not None
    device = first.device.type
    if not autocast_enabled(device):
        return list(tensors)
    kind = torch.get_autocast_dtype(device) if dtype is None else dtype
    return [t if t is None or not t.is_floating_point() or t.dtype == torch.float64 else t.to(kind) for t in tensors]


class kernels:
    """The passes of an op, as functions that run on the back-end for tensors like this one."""

    def __init__(self, op: str, backend: str, like: Tensor) -> None:
        self._request = op, backend, like.device, like.dtype

    def __getattr__(self, op_pass: str) -> Callable:
        return lambda *args: dispatch(*self._request, operator.methodcaller(op_pass, *args))


def or_empty(gradient: Tensor | None, like: Tensor) -> Tensor:
    """Return the gradient, or an empty tensor for None: ops return tensors."""
    return like.new_empty(0) if gradient is None else gradient


def scaled(grad_loss: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
    """Return the gradients of a loss times the gradient of its output."""
    # loss.backward() passes a 1, and a product with it would only move memory.
    readable = grad_loss.is_cpu and type(grad_loss) is Tensor and not grad_loss.requires_grad
    if readable and not torch.compiler.is_compiling() and not transforms_active() and grad_loss.item() == 1.0:
        return gradients
    # A loss scaled by GradScaler may exceed float16 before the product with its gradient.
    return tuple((grad_loss * gradient.to(grad_loss.dtype)).to(gradient.dtype) for gradient in gradients)


def check_integers(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(f"{name} is of type {tensor.dtype} and counts; give integers")


def no_gradient(**tensors: Tensor | None) -> None:
    """Raise ValueError if a tensor that is data requires a gradient."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad:
            raise ValueError(f"{name} requires a gradient and is data here; pass {name}.detach()")


def new_loss(like: Tensor) -> Tensor:
    """Return an empty scalar of the type of losses: float32, or float64 for float64 input."""
    return like.new_empty((), dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)


def returns_gradients(op: Op, *indices: int, target: tuple[int, int] | None = None) -> None:
    """Register the gradient of an op that returns a loss and its gradients with respect to the inputs at `indices`.

    `target` is (index of the target, index of the input that is compared with it): the loss depends on their
    difference, so the gradient of the target is the negative of the other.
    """

    def save(ctx, inputs, output):
        ctx.save_for_backward(*output[1:])

    def differentiate(ctx, grad_loss):
        needs = ctx.needs_input_grad
        grads: list[Tensor | None] = [None] * len(needs)
        compared = target[1] if target and needs[target[0]] else None
        needed = [index for index in indices if needs[index] or index == compared]
        gradients = scaled(grad_loss, *(ctx.saved_tensors[indices.index(index)] for index in needed))
        for index, gradient in zip(needed, gradients, strict=True):
            grads[index] = gradient if needs[index] else None
            if target and index == compared:
                grads[target[0]] = -gradient
        return tuple(grads)

    op.register_autograd(differentiate, save)
