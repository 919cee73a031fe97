"""dense and curro_loss: registration, gradients, guards and bits."""

import pytest
import torch
from torch.library import opcheck

import partae_fast as pf
from partae_fast.kernels._cpu import LARGE_PRODUCT
from partae_fast.kernels.dense import ACTIVATIONS
from partae_fast.kernels.philox import words
from partae_fast.reference.philox import philox, seed_key

from .common import WITHOUT_GRADIENTS

on_cpu = pytest.mark.parametrize("backend", ["eager", "cpu"])


def draw(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed + sum(shape)))


def layer(dtype=torch.float64, batch=5, inputs=4, outputs=7):
    return draw(batch, inputs, dtype=dtype), draw(inputs, outputs, dtype=dtype), draw(outputs, dtype=dtype)


def test_opcheck():
    x, weight, bias = (t.requires_grad_() for t in layer())
    for step_at in (None, torch.tensor(4)):
        opcheck(torch.ops.partae.dense.default, (x, weight, bias, "mrelu", 0.3, 1, 2, 3, step_at, "cpu"))
    signal, noise, target = (draw(4, 6, seed=n).requires_grad_() for n in range(3))
    arguments = (signal, noise, target, draw(4).sigmoid(), "cpu")
    opcheck(torch.ops.partae.curro_loss.default, arguments, test_utils=WITHOUT_GRADIENTS)


@on_cpu
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradcheck(backend, activation):
    inputs = tuple(t.requires_grad_() for t in layer())
    assert torch.autograd.gradcheck(
        lambda x, w, b: pf.dense(x, w, b, activation, dropout=0.3, seed=3, backend=backend), inputs
    )


@on_cpu
def test_gradcheck_of_curro_loss(backend):
    inputs = tuple(draw(3, 5, seed=n).requires_grad_() for n in range(3))
    label = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *frames: pf.curro_loss(*frames, label, backend=backend), inputs)


def test_frozen_layers_get_no_gradient():
    x, weight, bias = layer()
    pf.dense(x, weight, bias.requires_grad_()).sum().backward()
    assert bias.grad is not None and weight.grad is None


@pytest.mark.parametrize("threads", [1, 3])
def test_equal_bits_at_a_fixed_number_of_threads(threads):
    """Results with other numbers of threads agree up to rounding.

    The order of sums in PyTorch's products depends on the number of threads.
    """
    x, weight, bias = (t.requires_grad_() for t in layer(torch.float32, 128, 300, 260))
    before = torch.get_num_threads()

    def run(count):
        torch.set_num_threads(count)
        out = pf.dense(x, weight, bias, "mrelu", dropout=0.2, backend="cpu")
        return out.detach(), *torch.autograd.grad(out, (x, weight, bias), torch.ones_like(out))

    try:
        first = run(threads)
        repeats, others = [run(threads) for _ in range(20)], run(4 - threads)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for repeat in repeats for a, b in zip(first, repeat, strict=True))
    assert all((a - b).norm() <= 1e-6 * b.norm() for a, b in zip(first, others, strict=True))
    assert torch.equal(first[0] == 0, others[0] == 0)


def test_dropout_does_not_depend_on_the_batch_size():
    x, weight, bias = layer(torch.float32, 128, 300, 260)
    large, small = (pf.dense(x[:items], weight, bias, "mrelu", dropout=0.2, backend="cpu") for items in (128, 19))
    assert torch.equal(large[:19] == 0, small == 0) and 0 < (small == 0).float().mean() < 1


@pytest.mark.parametrize("backend", ["cpu", "eager"])
def test_a_step_in_a_tensor_is_read_when_the_layer_runs(backend):
    x, weight, step = torch.rand(5, 4), torch.rand(4, 9, requires_grad=True), torch.tensor(7)

    def layer(step):
        output = pf.dense(x, weight, None, dropout=0.5, seed=3, step=step, layer=2, backend=backend)
        return output, *torch.autograd.grad(output.sum(), weight)

    for number in (7, 8, 2**32 - 1):
        step.fill_(number)
        assert all(map(torch.equal, layer(step), layer(number)))


@pytest.mark.parametrize("step", [torch.tensor([1, 2]), torch.tensor(1.0), torch.tensor(1, device="meta")])
def test_a_step_in_an_unsuitable_tensor_is_refused(step):
    with pytest.raises(ValueError, match="give an int, or one int64 on x's device"):
        pf.dense(torch.rand(2, 3), torch.rand(3, 4), None, dropout=0.5, step=step)


def test_each_step_and_layer_has_its_own_mask():
    x, weight, bias = torch.zeros(40, 1), torch.zeros(1, 50), torch.ones(50)
    masks = [
        pf.dense(x, weight, bias, dropout=0.25, seed=seed, step=step, layer=number, backend=backend)
        for backend in ("eager", "cpu")
        for seed, step, number in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (2**62 + 1, 0, 0))
    ]
    for mask in masks:
        assert mask.unique().tolist() == pytest.approx([0.0, 4 / 3])
        assert 0.7 < mask.bool().float().mean() < 0.8
    assert all(torch.equal(a, b) for a, b in zip(masks[:5], masks[5:], strict=True))
    assert len({tuple(mask.flatten().tolist()) for mask in masks[:5]}) == 5


def test_philox_words_equal_the_reference():
    item = torch.tensor([0, 1, 2**32 - 1])
    drawn = torch.stack(words(2**63 - 5, 7, item, 2**32 - 1, torch.tensor(3)), dim=-1)
    counters = [[7, int(i), 2**32 - 1, 3] for i in item]
    assert drawn.tolist() == philox(counters, seed_key(2**63 - 5)).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.rand(5)}, r"x is \(5,\); it must be \(B, I\)"),
        ({"x": torch.rand(5, 3)}, "build the layer for the inputs that it gets"),
        ({"bias": torch.rand(6)}, r"bias is \(6,\) and weight has 7 outputs"),
        ({"bias": torch.rand(7)}, "give all of one floating-point type"),
        ({"activation": "tanh"}, "choose one of identity, relu, mrelu, leaky_relu"),
        ({"dropout": 1.0}, "from 0 up to, not including, 1"),
        ({"seed": -1}, r"seed is -1; it must be from 0 up to, not including, 2\^63"),
        ({"step": 2**32}, r"not including, 2\^32"),
    ],
)
def test_invalid_arguments_of_dense_are_refused(change, message):
    x, weight, bias = layer()
    with pytest.raises(ValueError, match=message) as error:
        pf.dense(**{"x": x, "weight": weight, "bias": bias, **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"noise": torch.rand(2, 4)}, "of one shape"), ({"noise_only": torch.ones(3)}, r"it is \(B,\)")],
)
def test_invalid_arguments_of_curro_loss_are_refused(change, message):
    frames = {name: torch.rand(2, 3) for name in ("signal", "noise", "target")}
    with pytest.raises(ValueError, match=message):
        pf.curro_loss(**{**frames, "noise_only": torch.ones(2), **change})


def test_small_products_with_at_most_a_relu_are_pytorchs_own():
    """With "auto" and nothing to fuse; they agree with the op, and everything else is the op."""
    x, weight, bias = (torch.randn(*shape, requires_grad=True) for shape in ((5, 7), (7, 3), (3,)))
    for activation, node in (("relu", "ReluBackward0"), ("identity", "AddmmBackward0")):
        plain, op = (pf.dense(x, weight, bias, activation, backend=backend) for backend in ("auto", "cpu"))
        assert (plain.grad_fn.name(), op.grad_fn.name()) == (node, "denseBackward")
        torch.testing.assert_close(plain, op)
        for ours, other in zip(*(torch.autograd.grad(y.sum(), (x, weight, bias)) for y in (plain, op)), strict=True):
            torch.testing.assert_close(ours, other)
    assert pf.dense(x, weight, None).grad_fn.name() == "MmBackward0"
    by_op = [
        pf.dense(x, weight, bias, "mrelu"),
        pf.dense(x, weight, bias, dropout=0.1),
        pf.dense(x, weight, bias, step=torch.tensor([0])),
        pf.dense(x.double(), weight.double(), bias.double()),
        pf.dense(torch.rand(LARGE_PRODUCT // 10**6, 1000), torch.rand(1000, 1000, requires_grad=True), None),
    ]
    assert [y.grad_fn.name() for y in by_op] == ["denseBackward"] * len(by_op)
