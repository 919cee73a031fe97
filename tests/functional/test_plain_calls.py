"""A plain call of an op passes PyTorch's dispatcher only if a mode, a transform or a kind of tensor needs it."""

import subprocess
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from partae_fast.functional import custom_op, decode, encode
from partae_fast.functional.encode import _encode

X, W = torch.rand(2, 20, 5), torch.randn(3, 5, 4)


class Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class FunctionMode(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))


class Subclass(torch.Tensor):
    pass


class Dispatched(Exception):
    """Raised where an op passes the dispatcher."""


@pytest.fixture
def dispatcher(monkeypatch):
    def raise_it(*args):
        raise Dispatched

    monkeypatch.setattr(_encode, "_overload", raise_it)


@pytest.mark.parametrize("grad", [False, True])
def test_a_plain_call_does_not_pass_the_dispatcher(grad, dispatcher):
    w = W.clone().requires_grad_(grad)
    values, positions = encode(X, w, 4)
    assert values.requires_grad == grad and not positions.requires_grad
    assert values.grad_fn is None or values.grad_fn.name() == "encodeBackward"
    with torch.no_grad():
        assert not encode(X, w, 4)[0].requires_grad
    with torch.inference_mode():
        assert torch.equal(encode(X.clone(), w, 4)[0], values)
    assert encode(X, torch.nn.Parameter(W), 4)[0].requires_grad


CONTEXTS = {
    "dispatch mode": Mode,
    "function mode": FunctionMode,
    "autocast": lambda: torch.autocast("cpu"),
    "profiler": torch.autograd.profiler.profile,
    "forward mode": torch.autograd.forward_ad.dual_level,
    "fake tensors": FakeTensorMode,
}


@pytest.mark.parametrize("name", CONTEXTS)
def test_the_dispatcher_is_passed_in_a_mode(name, dispatcher):
    with CONTEXTS[name](), pytest.raises(Dispatched):
        encode(X, W, 4)


TENSORS = {
    "subclass": lambda: X.as_subclass(Subclass),
    "negative view": lambda: torch.complex(X, -X).conj().imag,
    "zero": lambda: torch._efficientzerotensor(X.shape),
    "meta": lambda: X.to("meta"),
}


@pytest.mark.parametrize("name", TENSORS)
def test_the_dispatcher_is_passed_for_other_tensors(name, dispatcher):
    with pytest.raises(Dispatched):
        encode(TENSORS[name](), W if name != "meta" else W.to("meta"), 4)


def test_the_dispatcher_is_passed_in_a_transform(dispatcher):
    with pytest.raises(Dispatched):
        torch.func.grad(lambda x: encode(x, W, 4)[0].sum())(X)
    with pytest.raises(Dispatched):
        torch.vmap(lambda x: encode(x, W, 4)[0])(X[None])


def test_the_dispatcher_is_passed_if_pytorch_does_not_tell_what_acts(dispatcher, monkeypatch):
    """As in a version without one of the private functions that tell it."""
    custom_op._dispatch.cache_clear()
    try:
        monkeypatch.delattr(torch._C, "_len_torch_function_stack")
        with pytest.raises(Dispatched):
            encode(X, W, 4)
    finally:
        custom_op._dispatch.cache_clear()


def test_the_values_are_those_of_the_dispatcher():
    for x in (X, TENSORS["negative view"](), TENSORS["subclass"]()):
        results = encode(x, W, 4), torch.ops.partae.encode(x, W, 4, None, None, 0.0, "auto")
        for direct, dispatched in zip(*results, strict=True):
            assert torch.equal(direct, dispatched)
    values, positions = encode(X, W, 4)
    w = W.transpose(1, 2).contiguous()
    direct = decode(values, positions, w, 20)
    assert torch.equal(direct, torch.ops.partae.decode(values, positions, w, 20, "auto"))


def test_a_profile_has_the_op():
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        encode(X, W, 4)
    assert "partae::encode" in {event.name for event in profile.events() or []}


def test_a_plain_call_loads_no_compiler():
    """Importing torch._dynamo takes a second, and what it imports too."""
    code = """
import sys, torch
import partae_fast as pf
pf.encode(torch.rand(1, 20, 5), torch.randn(3, 5, 4, requires_grad=True), 4)[0].sum().backward()
print(sorted({"torch._dynamo", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
