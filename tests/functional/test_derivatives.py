"""Derivatives of every op: the supported ones are right by every interface, and the others raise."""

import pytest
import torch
from torch.autograd import forward_ad

from .common import calls, each_data, each_input, every_op, on_cpu


def gradients(call, **changes):
    """Return the gradients of the output's sum by `backward`."""
    inputs = {key: t.clone().requires_grad_() for key, t in {**call.inputs, **changes}.items()}
    return dict(zip(inputs, torch.autograd.grad(call(**inputs).sum(), list(inputs.values())), strict=True))


@each_input
def test_forward_mode_raises(name, argument):
    call = calls()[name]
    x = call.inputs[argument]

    def function(x):
        return call(**{argument: x})

    with pytest.raises(NotImplementedError, match="has no forward-mode derivative; use reverse mode"):
        torch.func.jvp(function, (x,), (x,))
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.hessian(lambda x: function(x).sum())(x)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward-mode"):
        function(forward_ad.make_dual(x, x))
    with forward_ad.dual_level(), torch.no_grad(), pytest.raises(NotImplementedError, match="forward-mode"):
        function(forward_ad.make_dual(x.clone().requires_grad_(), x))


@each_data
def test_forward_mode_of_data_raises(name, argument):
    call = calls()[name]
    x = call.data[argument]
    with pytest.raises(NotImplementedError, match="forward-mode"):
        torch.func.jvp(lambda x: call(**{argument: x}), (x,), (x,))


def test_forward_mode_past_an_op_works():
    call = calls()["encode"]
    x = torch.ones(3)
    value, tangent = torch.func.jvp(lambda x: call().sum() + (x**2).sum(), (x,), (x,))
    assert tangent == 6 and value == call().sum() + 3


@each_input
def test_second_derivatives_raise(name, argument):
    call = calls()[name]
    x = call.inputs[argument]

    def total(x):
        return (call(**{argument: x}) ** 2).sum()

    with pytest.raises(NotImplementedError, match="has no second derivative; use first derivatives alone"):
        torch.autograd.functional.hessian(total, x)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.func.jacrev(torch.func.grad(total))(x)
    with pytest.raises(NotImplementedError, match="second derivative"):
        torch.func.grad(lambda x: torch.func.grad(total)(x).sum())(x)


@every_op
def test_first_derivatives_with_a_graph_equal_those_without(name):
    call = calls()[name]
    inputs = [t.clone().requires_grad_() for t in call.inputs.values()]
    total = call(**dict(zip(call.inputs, inputs, strict=True))).sum()
    grads = torch.autograd.grad(total, inputs, create_graph=True)
    for key, expected in gradients(call).items():
        torch.testing.assert_close(grads[list(call.inputs).index(key)].detach(), expected)
    factor = torch.tensor(2.0, requires_grad=True)  # it needs no second derivative
    (slope,) = torch.autograd.grad(sum((factor * g).sum() for g in grads), factor)
    torch.testing.assert_close(slope, sum(g.sum() for g in gradients(call).values()), check_dtype=False)


@pytest.mark.parametrize("name", [name for name in calls() if name.endswith("loss") and name != "partitioned_loss"])
def test_the_gradient_of_a_loss_depends_on_the_weight_of_that_loss(name):
    call = calls()[name]
    argument, x = next(iter(call.inputs.items()))
    x, weight = x.clone().requires_grad_(), torch.tensor(1.0, requires_grad=True)
    (grad,) = torch.autograd.grad(weight * call(**{argument: x}), x, create_graph=True)
    (slope,) = torch.autograd.grad(grad.sum(), weight)
    torch.testing.assert_close(slope, gradients(call)[argument].sum(), check_dtype=False)


@each_input
@on_cpu
def test_transforms_of_torch_func(name, argument, backend):
    call = calls()[name]
    x, expected = call.inputs[argument], gradients(call)[argument]

    def total(x):
        return call(backend, **{argument: x}).sum()

    torch.testing.assert_close(torch.func.grad(total)(x), expected)
    torch.testing.assert_close(torch.func.vjp(total, x)[1](torch.tensor(3.0, dtype=x.dtype))[0], 3 * expected)
    torch.testing.assert_close(torch.func.jacrev(total)(x), expected)
    both = torch.stack([x, x / 2])
    torch.testing.assert_close(torch.func.vmap(total)(both), torch.stack([total(x), total(x / 2)]))
    each = torch.func.vmap(torch.func.grad(total))(both)
    torch.testing.assert_close(each, torch.stack([expected, gradients(call, **{argument: x / 2})[argument]]))


def test_vmap_over_another_axis():
    call = calls()["encode"]
    x = call.inputs["x"]
    mapped = torch.func.vmap(lambda item: call(x=item[None])[0], in_dims=2)(x.permute(1, 2, 0).contiguous())
    torch.testing.assert_close(mapped, call())


@each_data
def test_data_that_requires_a_gradient_is_refused(name, argument):
    call = calls()[name]
    with pytest.raises(ValueError, match=rf"{argument} requires a gradient and .*; pass {argument}.detach\(\)"):
        call(**{argument: call.data[argument].clone().requires_grad_()})


def test_an_unused_output_needs_no_gradient():
    """An output that no loss uses passes no gradient and needs no second derivative."""
    x = calls()["encode"].inputs["x"].clone().requires_grad_()
    used = torch.ones(2, requires_grad=True)
    (grad,) = torch.autograd.grad(calls()["encode"](x=x).sum() * 0 + (used**2).sum(), used, create_graph=True)
    assert torch.autograd.grad(grad.sum(), used)[0].tolist() == [2, 2]
