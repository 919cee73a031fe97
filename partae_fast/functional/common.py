"""What the ops share: guards, all of them before anything is allocated; autocast; how an op finds its kernels; and the
gradient of a loss whose kernel returned it with the value."""

import math
from numbers import Integral, Real
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..kernels import implementation, resolve
from .custom_op import Op, autocast_enabled, transforms_active


def check_tensors(**tensors: Any) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            remedy = f"torch.from_numpy({name})" if isinstance(tensor, np.ndarray) else f"torch.tensor({name})"
            remedy = "a tensor; for an array, torch.from_numpy(array)" if tensor is None else remedy
            raise TypeError(f"{name} is {_seen(tensor)} and must be a torch.Tensor; pass {remedy}")


def integer(name: str, value: Any) -> Any:
    """`value` as an int (or as the symbol of one, in an exported program); TypeError for a float, a bool, a string."""
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt, Integral)):
        raise TypeError(f"{name} is {_seen(value)} and must be an int; pass a whole number, such as 16")
    return value if isinstance(value, (int, torch.SymInt)) else int(value)


def number(name: str, value: Any) -> float:
    """`value` as a float; TypeError for a bool, a string, a tensor."""
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymInt, torch.SymFloat, Real)):
        raise TypeError(f"{name} is {_seen(value)} and must be a float; pass a number (of a tensor, {name}.item())")
    return float(value)


def _seen(value: Any) -> str:
    """What an argument is, in a few words, for an error."""
    kind = type(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def check_dimensions(**tensors: tuple[Tensor, str]) -> None:
    """Each tensor has the axes that its meaning, such as "B, N, H", names, and something along each."""
    check_tensors(**{name: tensor for name, (tensor, _) in tensors.items()})
    for name, (tensor, meaning) in tensors.items():
        if tensor.dim() != meaning.count(",") + 1 or 0 in tensor.shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}; it must be ({meaning}), each at least 1")


def check_alike(**tensors: Tensor | None) -> None:
    """One floating-point type, one device."""
    kinds = {name: t.dtype for name, t in tensors.items() if t is not None}
    if len(set(kinds.values())) > 1 or not all(d.is_floating_point for d in kinds.values()):
        raise ValueError(f"types are {_listed(kinds)}; give all of one floating-point type")
    check_devices(**tensors)


def check_devices(**tensors: Tensor | None) -> None:
    devices = {name: t.device for name, t in tensors.items() if t is not None}
    if len(set(devices.values())) > 1:
        raise ValueError(f"devices are {_listed(devices)}; move all tensors to one")


def _listed(items: dict) -> str:
    return ", ".join(f"{name} {value}" for name, value in items.items())


def check_shares(**tensors: Tensor) -> None:
    """Numbers in CPU memory lie in [0, 1]. On a GPU asking would stop the stream: the kernel makes NaN of others."""
    for name, tensor in tensors.items():
        if tensor.is_cpu:
            low, high = (edge.item() for edge in torch.aminmax(tensor))
            if not 0 <= low <= high <= 1:  # a NaN is none of these
                raise ValueError(f"{name} has values from {low} to {high}; give values from 0 to 1")


def check_penalty(penalty: float) -> None:
    if not 0 <= penalty < math.inf:
        raise ValueError(f"penalty is {penalty}; give a finite number, 0 or above")


def autocast(*tensors: Tensor | None, dtype: torch.dtype | None = None) -> list[Any]:
    """The tensors as autocast has them on their device: of its type or, for a loss, of type `dtype`.

    As for PyTorch's own ops, float64 stays as it is, and so does everything where autocast is off.
    """
    device = next(t.device.type for t in tensors if t is not None)
    if not autocast_enabled(device):
        return list(tensors)
    kind = torch.get_autocast_dtype(device) if dtype is None else dtype
    return [t if t is None or not t.is_floating_point() or t.dtype == torch.float64 else t.to(kind) for t in tensors]


def kernels(op: str, backend: str, like: Tensor) -> ModuleType:
    """The implementation that serves a call with tensors like this one."""
    return implementation(op, resolve(op, backend, like.device, like.dtype))


def or_empty(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A kernel's None (a gradient nobody needs) as an empty tensor, for an op returns tensors."""
    return like.new_empty(0) if gradient is None else gradient


def scaled(grad_loss: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a loss times what comes down from above it."""
    # loss.backward() hands down a 1, and a product with it would only move memory.
    known = grad_loss.is_cpu and type(grad_loss) is Tensor and not grad_loss.requires_grad
    if known and not torch.compiler.is_compiling() and not transforms_active() and grad_loss.item() == 1.0:
        return gradients
    # A loss that was scaled up, as GradScaler does, may exceed float16 before the product with its gradient.
    return tuple((grad_loss * gradient.to(grad_loss.dtype)).to(gradient.dtype) for gradient in gradients)


def check_integers(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
            raise ValueError(f"{name} is of type {tensor.dtype} and counts; give integers")


def no_gradient(**tensors: Tensor | None) -> None:
    """These are data: nobody may want a gradient to them."""
    for name, tensor in tensors.items():
        if tensor is not None and tensor.requires_grad:
            raise ValueError(f"{name} requires a gradient and is data here; pass {name}.detach()")


def new_loss(like: Tensor) -> Tensor:
    """A scalar of the type that losses of such input have: float32, or float64 where the input is."""
    return like.new_empty((), dtype=torch.float64 if like.dtype == torch.float64 else torch.float32)


def returns_gradients(op: Op, *places: int, target: tuple[int, int] | None = None) -> None:
    """Registers the gradient of an op that returns a loss and then its gradients to the inputs at `places`.

    `target` is the place of what the input at another place is compared with, and that place: the loss is of their
    difference, so that one's gradient is the other's with its sign turned.
    """

    def save(ctx, inputs, output):
        ctx.save_for_backward(*output[1:])

    def differentiate(ctx, grad_loss):
        needs = ctx.needs_input_grad
        grads: list[Tensor | None] = [None] * len(needs)
        compared = target[1] if target and needs[target[0]] else None
        needed = [place for place in places if needs[place] or place == compared]
        gradients = scaled(grad_loss, *(ctx.saved_tensors[places.index(place)] for place in needed))
        for place, gradient in zip(needed, gradients, strict=True):
            grads[place] = gradient if needs[place] else None
            if target and place == compared:
                grads[target[0]] = -gradient
        return tuple(grads)

    op.register_autograd(differentiate, save)
