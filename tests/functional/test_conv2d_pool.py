"""conv2d_pool and upsample_conv2d: registration, gradients, compilation, guards."""

from itertools import pairwise

import pytest
import torch
from torch.library import opcheck

import partae_fast as pf
from partae_fast.kernels import OPS

every_backend = pytest.mark.parametrize("backend", [name for name in OPS["conv2d_pool"].backends if name != "triton"])

# Grais & Plumbley 2017, table 1: channels in and out of each layer.
CHANNELS = (1, 12, 20, 30, 40, 30, 20, 12, 1)


def draw(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()


@every_backend
def test_opcheck(backend):
    x, weight, bias = draw(2, 5, 7, 3), draw(3, 3, 3, 4), draw(4)
    opcheck(torch.ops.partae.conv2d_pool.default, (x, weight, bias, [2, 3], True, backend))
    opcheck(torch.ops.partae.conv2d_pool.default, (x, weight, bias, [1, 1], False, backend))
    opcheck(torch.ops.partae.upsample_conv2d.default, (x, weight, bias, [2, 3], True, backend))


@every_backend
def test_gradcheck_of_a_small_autoencoder(backend):
    arguments = draw(1, 4, 6, 1), draw(3, 3, 1, 3), draw(3), draw(3, 3, 3, 1), draw(1)

    def chain(x, weight, bias, back, offset):
        values, _ = pf.conv2d_pool(x, weight, bias, (2, 3), backend=backend)
        return pf.upsample_conv2d(values, back, offset, (2, 3), backend=backend, relu=False)

    assert torch.autograd.gradcheck(chain, arguments)


def test_compiles_without_a_break():
    x, weight, bias = (t.detach() for t in (draw(1, 4, 6, 2), draw(3, 3, 2, 2), draw(2)))

    def chain(x):
        values, _ = pf.conv2d_pool(x, weight, bias, (2, 3))
        return pf.upsample_conv2d(values, weight, bias, (2, 3))

    torch.testing.assert_close(torch.compile(chain, fullgraph=True, backend="aot_eager")(x), chain(x))


def test_the_papers_sizes():
    x, shapes, parameters = torch.rand(1, 15, 1025, 1), [], 0
    for layer, (c, d) in enumerate(pairwise(CHANNELS)):
        weight, bias = torch.randn(3, 3, c, d), torch.randn(d)
        pool, scale = {0: (3, 5), 1: (1, 5)}.get(layer, (1, 1)), {5: (1, 5), 6: (3, 5)}.get(layer)
        x = pf.upsample_conv2d(x, weight, bias, scale) if scale else pf.conv2d_pool(x, weight, bias, pool)[0]
        shapes.append(tuple(x.shape[1:3]))
        parameters += weight.numel() + bias.numel()
    assert shapes == [(5, 205), *[(5, 41)] * 4, (5, 205), (15, 1025), (15, 1025)]
    assert parameters == 37_101


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"x": torch.rand(4, 6, 2)}, r"x is \(4, 6, 2\); it must be \(B, N, H, C\)"),
        ({"weight": torch.rand(3, 3, 3, 5)}, r"has 2 channels, the last axis; weight must be \(3, 3, 2, D\)"),
        ({"weight": torch.rand(5, 3, 2, 5)}, r"weight must be \(3, 3, 2, D\)"),
        ({"bias": torch.rand(4)}, r"bias is \(4,\) for 5 filters"),
        ({"bias": torch.rand(5).double()}, "give all of one floating-point type"),
        ({"factors": (0, 2)}, r"is \(0, 2\); it is two numbers, for frames and for bins, each at least 1"),
        ({"factors": (2,)}, "it is two numbers"),
    ],
)
def test_guards(change, says):
    arguments = {
        "x": torch.rand(1, 4, 6, 2),
        "weight": torch.rand(3, 3, 2, 5),
        "bias": torch.rand(5),
        "factors": (1, 2),
    }
    for function in (pf.conv2d_pool, pf.upsample_conv2d):
        with pytest.raises(ValueError, match=says):
            function(*(arguments | change).values())
