"""Under autocast the ops cast their inputs as PyTorch's ops do: layers to its type, losses to float32."""

import pytest
import torch

from .common import calls, every_op

LOSSES = [name for name in calls() if name.endswith("loss")]


@every_op
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_inputs_of_mixed_types_are_cast_to_that_of_autocast(name, kind):
    call = calls(torch.float32)[name]
    inputs = {key: t.clone().requires_grad_() for key, t in call.inputs.items()}
    first = next(iter(inputs))
    with torch.autocast("cpu", kind):
        output = call(**{**inputs, first: inputs[first].to(kind)})
        output.float().sum().backward()
    assert output.dtype == (torch.float32 if name in LOSSES else kind)
    torch.testing.assert_close(output.float(), call(), rtol=0.05, atol=0.1)
    for key, tensor in inputs.items():
        x = call.inputs[key].clone().requires_grad_()
        (expected,) = torch.autograd.grad(call(**{key: x}).sum(), x)
        assert tensor.grad.dtype == torch.float32
        assert (tensor.grad - expected).norm() <= 0.1 * expected.norm()


@every_op
def test_the_result_is_that_of_cast_inputs(name):
    """Kernels cast nothing further: sums are float32 or wider."""
    call = calls(torch.float32)[name]
    kind = torch.float32 if name in LOSSES else torch.bfloat16
    cast = {k: t.to(kind) if t.is_floating_point() else t for k, t in {**call.inputs, **call.data}.items()}
    x = next(iter(call.inputs))
    inside, before = cast[x].clone().requires_grad_(), cast[x].clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        output = call(**{**cast, x: inside})
        output.sum().backward()  # which PyTorch's manual advises against
    if name == "partitioned_loss":  # layers in bfloat16 and a loss in float32
        return
    expected = call(**{**cast, x: before})
    expected.sum().backward()
    assert torch.equal(output, expected) and torch.equal(inside.grad, before.grad)


@every_op
def test_float64_is_not_cast(name):
    call = calls(torch.float64)[name]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(call(), calls(torch.float64)[name]())
        assert call().dtype == torch.float64


def test_a_backend_without_the_type_says_so():
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(RuntimeError, match="float64, not bfloat16"):
        calls(torch.float32)["encode"]("cpu")


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float16])
def test_a_scaled_loss_has_scaled_gradients(kind):
    """GradScaler scales beyond the range of float16, in a type in which the gradient is small."""
    call = calls(kind)["curro_loss"]
    x = call.inputs["signal"].clone().requires_grad_()
    (plain,) = torch.autograd.grad(call(signal=x), x)
    (scaled,) = torch.autograd.grad(call(signal=x) * 2.0**17 / 2.0**10, x)
    torch.testing.assert_close(scaled.float(), plain.float() * 2**7)
    small = {key: t * 1e-3 for key, t in call.inputs.items()}
    x = small["signal"].clone().requires_grad_()
    (plain,) = torch.autograd.grad(call(**{**small, "signal": x}), x)
    (scaled,) = torch.autograd.grad(call(**{**small, "signal": x}) * 2.0**17, x)
    torch.testing.assert_close(scaled.float(), plain.float() * 2**17)


def test_compiles_under_autocast():
    call = calls(torch.float32)["partitioned_loss"]
    with torch.autocast("cpu", torch.bfloat16):
        compiled = torch.compile(lambda x: call(x=x), fullgraph=True, backend="aot_eager")(call.inputs["x"])
        assert torch.equal(compiled, call())
