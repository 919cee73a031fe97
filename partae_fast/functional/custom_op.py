"""How an op of ours is registered with PyTorch: dispatch, first derivatives, vmap; errors for derivatives it lacks.

`torch.library.custom_op` would do, but for two things: its gradient is lost under forward-mode differentiation, which
then gives 0, and it fails inside `torch.func.grad`.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction


def transforms_active() -> bool:
    """Whether a transform of `torch.func` (grad, vjp, vmap, ...) is running."""
    return torch._C._are_functorch_transforms_active()


def autocast_enabled(device_type: str) -> bool:
    """Whether autocast is on. The types are listed: torch.compile of PyTorch 2.11 cannot ask which of them have it."""
    return device_type in ("cpu", "cuda", "mps", "xpu") and torch.is_autocast_enabled(device_type)


class Op:
    """A function of tensors and settings as the op `torch.ops.partae.NAME`.

    Until `register_autograd` is called it has no derivative: asking for one raises.
    """

    def __init__(self, name: str, function: Callable) -> None:
        self.name = f"partae::{name}"
        self.public_name = name.removesuffix("_backward")
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(self.name, schema, tags=torch.Tag.pt2_compliant_tag)
        self._overload = getattr(torch.ops.partae, name).default
        self._setup_context: Callable = lambda ctx, inputs, output: None
        self._backward: Callable = lambda ctx, grad: self._refuse_second_derivative()
        self._function = self._autograd_function()
        # Nothing inside a kernel is for Dynamo to compile, or for autocast to change the types of.
        kernel = _disable_dynamo(_without_autocast(function))
        torch.library.impl(self.name, "CompositeExplicitAutograd", kernel)
        torch.library.impl(self.name, "Autograd", self._apply)
        torch.library.register_vmap(self.name, self._map)

    def register_fake(self, function: Callable) -> Callable:
        """The decorator of a function that returns empty outputs of the right shapes and types."""
        return torch.library.register_fake(self.name, function)

    def register_autograd(self, backward: Callable, setup_context: Callable) -> None:
        """Give the op the gradient of its first output.

        `setup_context(ctx, inputs, output)` saves what `backward(ctx, grad)` needs to return a gradient or None for
        each input. Where another output of floating-point type is used, and it needs a gradient, this raises: such
        outputs are first derivatives, and theirs would be second ones.
        """
        self._setup_context, self._backward = setup_context, backward

    def _autograd_function(self) -> Any:
        op = self

        class Differentiable(_SingleLevelFunction):
            @staticmethod
            def forward(*args):
                return op._below_autograd(*args)

            @staticmethod
            def setup_context(ctx, inputs, output):
                outputs = output if isinstance(output, tuple) else (output,)
                ctx.mark_non_differentiable(*(o for o in outputs if not o.is_floating_point()))
                ctx.set_materialize_grads(False)
                op._setup_context(ctx, inputs, output)

            @staticmethod
            def backward(ctx, *grads):
                if any(grad is not None for grad in grads[1:]):
                    op._refuse_second_derivative()
                return (None,) * len(ctx.needs_input_grad) if grads[0] is None else op._backward(ctx, grads[0])

            @staticmethod
            def jvp(ctx, *tangents):
                raise NotImplementedError(
                    f"{op.public_name} has no forward-mode derivative; use reverse mode: Tensor.backward,"
                    " torch.autograd.grad, torch.func.grad, torch.func.vjp or torch.func.jacrev"
                )

        Differentiable.__name__ = self.name.partition("::")[2]  # what a result's grad_fn is called
        return Differentiable

    def _refuse_second_derivative(self) -> None:
        raise NotImplementedError(
            f"{self.public_name} has no second derivative; use first derivatives alone, or finite differences of them"
        )

    def _apply(self, *args: Any) -> Any:
        if transforms_active():
            with enable_single_level_autograd_function():
                return self._function.apply(*args)
        reverse = torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args)
        forward = forward_ad._current_level >= 0
        return self._function.apply(*args) if reverse or forward else self._below_autograd(*args)

    def _below_autograd(self, *args: Any) -> Any:
        with contextlib.ExitStack() as stack:
            if transforms_active():  # an outer transform differentiates too
                stack.enter_context(torch.enable_grad())
                stack.enter_context(forward_ad._set_fwd_grad_enabled(True))
            stack.enter_context(torch._C._AutoDispatchBelowAutograd())
            return self._overload(*args)

    def _map(self, info: Any, in_dims: tuple, *args: Any) -> tuple[Any, Any]:
        """The op for each slice of the inputs that `torch.vmap` maps over, one after the other."""
        dims = [dim if isinstance(dim, int) else None for dim in in_dims]
        results = [
            self._overload(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def _without_autocast(function: Callable) -> Callable:
    """The function with autocast off: the public ops have cast their inputs, and sums are float32 or wider."""

    def call(*args: Any) -> Any:
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        if not autocast_enabled(device):
            return function(*args)
        with torch.autocast(device, enabled=False):
            return function(*args)

    return call


def op(name: str) -> Callable[[Callable], Op]:
    """The decorator of a custom op of ours."""
    return lambda function: Op(name, function)
