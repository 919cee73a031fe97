"""Strides, offsets and expanded gradients change no value; outputs are contiguous and share no memory."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .common import calls, every_op, on_cpu


def every_second(t):
    """Return the same numbers at every second element."""
    return torch.stack([t, torch.full_like(t, 9)], -1).select(-1, 0)


def transposed(t):
    """Return the same numbers with a contiguous first axis and a strided last one."""
    return t.permute(*range(t.dim())[::-1]).contiguous().permute(*range(t.dim())[::-1])


def offset(t):
    """Return the same numbers, contiguous, from the second element of a storage: not aligned to a vector."""
    buffer = torch.empty(t.numel() + 1, dtype=t.dtype)
    return buffer[1:].copy_(t.flatten()).view(t.shape)


def of_expanded(t):
    """Return an expanded tensor whose items along the first axis are all the first of t."""
    return t[:1].expand(t.shape)


def run(call, backend, arguments):
    inputs = {key: arguments[key].detach().requires_grad_() for key in call.inputs}
    output = call(backend, **{**arguments, **inputs})
    return [output.detach(), *torch.autograd.grad(output.sum(), list(inputs.values()))]  # of stride 0


def assert_alike(call, backend, layout):
    arguments = {**call.inputs, **call.data}
    laid = {key: layout(t) for key, t in arguments.items()}
    expected = run(call, backend, {key: t.contiguous().clone() for key, t in laid.items()})
    for result, truth in zip(run(call, backend, laid), expected, strict=True):
        torch.testing.assert_close(result, truth, rtol=1e-5, atol=1e-6)


@every_op
@on_cpu
@pytest.mark.parametrize("layout", [every_second, transposed, offset, of_expanded])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layouts_change_no_value(name, backend, layout, dtype):
    assert_alike(calls(dtype)[name], backend, layout)


@every_op
@on_cpu
def test_a_gradient_of_stride_0_is_a_full_one(name, backend):
    call = calls()[name]
    inputs = [t.clone().requires_grad_() for t in call.inputs.values()]
    output = call(backend, **dict(zip(call.inputs, inputs, strict=True)))
    full = torch.ones_like(output)
    expected = torch.autograd.grad(output, inputs, full, retain_graph=True)
    for result, truth in zip(torch.autograd.grad(output.sum(), inputs), expected, strict=True):
        assert torch.equal(result, truth)


class Recorder(TorchDispatchMode):
    """Record the inputs and outputs of each partae op that runs."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        if func.namespace == "partae":
            self.calls.append((func.name(), args, output if isinstance(output, tuple) else (output,)))
        return output


@every_op
@on_cpu
def test_outputs_are_contiguous_and_alias_nothing(name, backend):
    call, recorder = calls()[name], Recorder()
    arguments = {key: transposed(t) for key, t in {**call.inputs, **call.data}.items()}
    with recorder:
        run(call, backend, arguments)
    assert len(recorder.calls) >= (1 if name.endswith("loss") else 2)
    for op, inputs, outputs in recorder.calls:
        taken = [t.untyped_storage().data_ptr() for t in inputs if isinstance(t, torch.Tensor)]
        for output in outputs:
            assert output.is_contiguous(), op
            assert output.numel() == 0 or output.untyped_storage().data_ptr() not in taken, op
            taken.append(output.untyped_storage().data_ptr())
