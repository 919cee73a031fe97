"""What the ops share: guards, all of them before anything is allocated; how a custom op finds its kernels; and the
gradient of a loss whose kernel returned it with the value."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..kernels import implementation, resolve


def check_dimensions(**tensors: tuple[Tensor, str]) -> None:
    """Each tensor has the axes that its meaning, such as "B, N, H", names, and something along each."""
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


def kernels(op: str, backend: str, like: Tensor) -> ModuleType:
    """The implementation that serves a call with tensors like this one."""
    return implementation(op, resolve(op, backend, like.device, like.dtype))


def op(name: str) -> Any:
    """The decorator of a custom op of ours."""
    return torch.library.custom_op(f"partae::{name}", mutates_args=())


def or_empty(gradient: Tensor | None, like: Tensor) -> Tensor:
    """A kernel's None (a gradient nobody needs) as an empty tensor, for an op returns tensors."""
    return like.new_empty(0) if gradient is None else gradient


def scaled(grad_loss: Tensor, *gradients: Tensor) -> tuple[Tensor, ...]:
    """The gradients of a loss times what comes down from above it."""
    # loss.backward() hands down a 1, and a product with it would only move memory.
    known = grad_loss.is_cpu and not torch.compiler.is_compiling() and type(grad_loss) is Tensor
    if known and grad_loss.item() == 1.0:
        return gradients
    return tuple(grad_loss.to(gradient.dtype) * gradient for gradient in gradients)


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


def returns_gradients(custom_op: Any, *places: int, target: tuple[int, int] | None = None) -> None:
    """Registers the gradient of an op that returns a loss and then its gradients to the inputs at `places`.

    `target` is the place of what the input at another place is compared with, and that place: the loss is of their
    difference, so that one's gradient is the other's with its sign turned.
    """

    def save(ctx, inputs, output):
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*output[1:])

    def differentiate(ctx, grad_loss, *_):
        grads: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        if grad_loss is not None:
            needs = ctx.needs_input_grad
            compared = target[1] if target and needs[target[0]] else None
            wanted = [place for place in places if needs[place] or place == compared]
            found = scaled(grad_loss, *(ctx.saved_tensors[places.index(place)] for place in wanted))
            for place, gradient in zip(wanted, found, strict=True):
                grads[place] = gradient if needs[place] else None
                if target and place == compared:
                    grads[target[0]] = -gradient
        return tuple(grads)

    custom_op.register_autograd(differentiate, setup_context=save)
