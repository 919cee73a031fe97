"""Registration of ops with PyTorch: dispatch, first derivatives, vmap, and errors for unsupported derivatives.

`torch.library.custom_op` has two faults: under forward-mode differentiation its derivative is silently 0, and it fails
inside `torch.func.grad`.
"""

import contextlib
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch._functorch.utils import enable_single_level_autograd_function
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction
from torch.nn import Parameter

_TENSORS = (Tensor, Parameter)


def transforms_active() -> bool:
    """Return whether a transform of `torch.func` (grad, vjp, vmap, ...) is active."""
    return torch._C._are_functorch_transforms_active()


def _key_set(*names: str) -> int:
    """Return a set of dispatch keys as a number."""
    keys = [torch._C.DispatchKeySet(getattr(torch._C.DispatchKey, name)) for name in names]
    return functools.reduce(operator.or_, keys).raw_repr()


class _Dispatch(NamedTuple):
    """What PyTorch's dispatcher takes into account in a call, as far as its version tells."""

    thread_keys: set[int]  # of a thread, and
    tensor_keys: set[int]  # of a tensor if no mode, transform, subclass or lazy view takes part in a call
    keys_of: Callable[[Tensor], Any]
    included: Callable[[], Any]
    autocast: Callable[[], bool]
    modes: Callable[[], int]
    compiler: Callable[[], Any]
    profiler: Callable[[], bool]


@functools.cache
def _dispatch() -> _Dispatch | None:
    """Return how to ask what acts on a call; None if this version of PyTorch lacks something."""
    try:
        from torch._C._autograd import _profiler_enabled
        from torch._C._dynamo.eval_frame import get_eval_frame_callback

        thread_keys = {_key_set("BackendSelect", "ADInplaceOrView"), _key_set("BackendSelect")}
        tensor_keys = {
            _key_set(device, f"Autocast{device}", *others)
            for device in ("CPU", "CUDA")
            for others in ((), ("ADInplaceOrView", f"Autograd{device}"))  # without them in inference mode
        }
        return _Dispatch(
            thread_keys,
            tensor_keys,
            torch._C._dispatch_keys,
            torch._C._dispatch_tls_local_include_set,
            torch._C._is_any_autocast_enabled,
            torch._C._len_torch_function_stack,
            get_eval_frame_callback,
            _profiler_enabled,
        )
    except (ImportError, AttributeError, TypeError):
        return None


def _is_plain(args: Sequence[Any]) -> bool:
    """Return whether PyTorch's dispatcher would only call autograd and the kernel of an op.

    It does other work under a mode, a transform, autocast, a profiler or a compiler, and for other tensors than plain
    ones.
    """
    ask = _dispatch()
    if (
        ask is None
        or ask.included().raw_repr() not in ask.thread_keys
        or ask.autocast()
        or ask.modes()
        or forward_ad._current_level >= 0
        or ask.compiler() is not None
        or ask.profiler()
    ):
        return False
    for a in args:  # a generator would take a call for each argument
        if isinstance(a, Tensor) and (type(a) not in _TENSORS or ask.keys_of(a).raw_repr() not in ask.tensor_keys):
            return False
    return True


def _require_grad(args: Sequence[Any]) -> bool:
    """Return whether autograd has to record a call."""
    if torch.is_grad_enabled():
        for a in args:
            if isinstance(a, Tensor) and a.requires_grad:
                return True
    return False


def autocast_enabled(device_type: str) -> bool:
    """Return whether autocast is on. The device types are listed: torch.compile in PyTorch 2.11 cannot query them."""
    return device_type in ("cpu", "cuda", "mps", "xpu") and torch.is_autocast_enabled(device_type)


class Op:
    """A function of tensors and settings, registered as the op `torch.ops.partae.NAME`.

    It has no derivative, and raises for one, until `register_autograd` is called. A call of it passes PyTorch's
    dispatcher only where that has something to do: the dispatcher takes longer than all checks of an op's arguments.
    """

    def __init__(self, name: str, function: Callable) -> None:
        self.name = f"partae::{name}"
        self.public_name = name.removesuffix("_backward")
        schema = torch.library.infer_schema(function, mutates_args=())
        torch.library.define(self.name, schema, tags=torch.Tag.pt2_compliant_tag)
        self._overload = getattr(torch.ops.partae, name).default
        self._setup_context: Callable = lambda ctx, inputs, output: None
        self._backward: Callable = lambda ctx, grad: self._refuse_second_derivative()
        self._kernel = function
        self._function, self._plain_function = self._autograd_functions()
        # Dynamo must not compile a kernel, and autocast must not change its types.
        kernel = _disable_dynamo(_without_autocast(function))
        torch.library.impl(self.name, "CompositeExplicitAutograd", kernel)
        torch.library.impl(self.name, "Autograd", self._apply)
        torch.library.register_vmap(self.name, self._map)

    def register_fake(self, function: Callable) -> Callable:
        """Decorate a function that returns empty outputs of the right shapes and types."""
        return torch.library.register_fake(self.name, function)

    def register_autograd(self, backward: Callable, setup_context: Callable) -> None:
        """Register the gradient of the op's first output.

        `setup_context(ctx, inputs, output)` saves what `backward(ctx, grad)` needs to return a gradient or None for
        each input. A gradient of another floating-point output raises: such outputs are first derivatives, and their
        gradients would be second derivatives.
        """
        self._setup_context, self._backward = setup_context, backward

    def __call__(self, *args: Any) -> Any:
        if torch.compiler.is_compiling() or not _is_plain(args):
            return self._overload(*args)
        if _require_grad(args):
            return self._plain_function.apply(*args)
        return self._kernel(*args)

    def _autograd_functions(self) -> tuple[Any, Any]:
        """Return the autograd function of the op for the dispatcher, and that for plain calls."""
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

        def plain(*args):
            return op._kernel(*args)

        kind: Any = type(Differentiable)
        name = self.name.partition("::")[2]  # a result's grad_fn has the name of its class
        return kind(name, (Differentiable,), {}), kind(name, (Differentiable,), {"forward": staticmethod(plain)})

    def _refuse_second_derivative(self) -> None:
        raise NotImplementedError(
            f"{self.public_name} has no second derivative; use first derivatives alone, or finite differences of them"
        )

    def _apply(self, *args: Any) -> Any:
        if transforms_active():
            with enable_single_level_autograd_function():
                return self._function.apply(*args)
        forward = forward_ad._current_level >= 0
        return self._function.apply(*args) if forward or _require_grad(args) else self._below_autograd(*args)

    def _below_autograd(self, *args: Any) -> Any:
        with contextlib.ExitStack() as stack:
            if transforms_active():  # an outer transform differentiates too
                stack.enter_context(torch.enable_grad())
                stack.enter_context(forward_ad._set_fwd_grad_enabled(True))
            stack.enter_context(torch._C._AutoDispatchBelowAutograd())
            return self._overload(*args)

    def _map(self, info: Any, in_dims: tuple, *args: Any) -> tuple[Any, Any]:
        """Call the op for each slice of the inputs that `torch.vmap` maps over, one after the other."""
        dims = [dim if isinstance(dim, int) else None for dim in in_dims]
        results = [
            self._overload(*(a if dim is None else a.select(dim, i) for a, dim in zip(args, dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(torch.stack(parts) for parts in zip(*results, strict=True)), (0,) * len(results[0])


def _without_autocast(function: Callable) -> Callable:
    """Return the function with autocast off: the public ops have cast their inputs, and sums are float32 or wider."""

    def call(*args: Any) -> Any:
        device = next(a.device.type for a in args if isinstance(a, Tensor))
        if not autocast_enabled(device):
            return function(*args)
        with torch.autocast(device, enabled=False):
            return function(*args)

    return call


def op(name: str) -> Callable[[Callable], Op]:
    """Decorate a function as the op `name`."""
    return lambda function: Op(name, function)
