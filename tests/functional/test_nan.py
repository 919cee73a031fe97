"""NaN in values and gradients: rectifiers and windows keep it, and gradients that are 0 stay 0."""

import math

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.kernels import implementation
from partae_fast.kernels.dense import ACTIVATIONS, Dropout
from partae_fast.reference import conv2d_pool as conv2d_reference
from partae_fast.reference import dense as dense_reference
from partae_fast.reference import encode as encode_reference
from partae_fast.reference import upsample_conv2d as upsample_reference

from .common import draw, on_cpu

NAN = math.nan
GRADIENT = torch.tensor([NAN, 2.0, NAN, NAN], dtype=torch.float64)
VALUES = torch.tensor([-1.0, NAN, 0.0, 3.0], dtype=torch.float64)


def assert_same(result, truth):
    for gradient, expected in zip(result, truth, strict=True):
        expected = torch.from_numpy(np.ascontiguousarray(expected))
        torch.testing.assert_close(gradient, expected, equal_nan=True)


def inner(grad_x, grad_weight, grad_bias):
    """Return the gradients without taps on zeros outside the map, whose product with NaN back-ends may skip."""
    return grad_x, grad_weight[1:2, 1:2], grad_bias


@on_cpu
@pytest.mark.parametrize("negative_slope", [0.0, 0.25])
def test_encode_backward(backend, negative_slope):
    x, w_enc = draw(1, 8, 2), draw(1, 2, 2)  # one tap: a position reaches only its frame
    values, grad = VALUES.view(1, 2, 2), GRADIENT.view(1, 2, 2)
    positions = torch.tensor([[[0, 1], [6, 7]]], dtype=torch.int32)
    arguments = grad, x, w_enc, values, positions, 4, None, None
    result = implementation("encode", backend).encode_backward(*arguments, True, True, negative_slope)
    assert_same(
        result,
        encode_reference.encode_backward(
            *(a.numpy() if a is not None else a for a in arguments[:5]), 4, negative_slope=negative_slope
        ),
    )
    touched = result[0][0, [0, 1, 6, 7]].isnan().any(1).tolist()
    assert touched == ([True, False, True, True] if negative_slope else [False, False, False, True])
    assert (result[0][0, 1] == 2 * w_enc[0, :, 1]).all()  # the gradient passes at a value of NaN


@on_cpu
@pytest.mark.parametrize("pool", [(1, 1), (2, 1)])
@pytest.mark.parametrize("filters", [1, 40])
def test_conv2d_backward(backend, pool, filters):
    x, weight = draw(1, 2 * pool[0], 2, 1), draw(3, 3, 1, filters)
    values, grad = (t.view(1, 2, 2, 1).repeat(1, 1, 1, filters) for t in (VALUES, GRADIENT))
    positions = torch.zeros(values.shape if pool != (1, 1) else 0, dtype=torch.int32)
    where = torch.zeros(values.shape, dtype=torch.int32).numpy()
    arguments = grad, x, weight, values
    truth = conv2d_reference.conv2d_pool_backward(*(a.numpy() for a in arguments), where, pool)
    module = implementation("conv2d_pool", backend)
    result = module.conv2d_pool_backward(*arguments, positions, pool, True, True, True, True)
    assert_same(inner(*result), inner(*truth))


@on_cpu
@pytest.mark.parametrize("scale", [(1, 1), (2, 1)])
def test_upsample_conv2d_backward(backend, scale):
    x, weight = draw(1, 2 // scale[0], 2, 1), draw(3, 3, 1, 40)
    out, grad = (t.view(1, 2, 2, 1).repeat(1, 1, 1, 40) for t in (VALUES, GRADIENT))
    arguments = grad, x, weight, out
    truth = upsample_reference.upsample_conv2d_backward(*(a.numpy() for a in arguments), scale)
    module = implementation("upsample_conv2d", backend)
    result = module.upsample_conv2d_backward(*arguments, scale, True, True, True, True)
    assert_same(inner(*result), inner(*truth))


@on_cpu
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_dense_backward(backend, activation, dropout):
    x, weight, bias = draw(5, 4), draw(4, 9), draw(9)
    x[2, 1], grad = NAN, draw(5, 9)
    grad[:, ::2] = NAN
    settings = Dropout(dropout, 1, 2, 3)
    module = implementation("dense", backend)
    output = module.dense(x, weight, bias, activation, settings)
    result = module.dense_backward(grad, output, x, weight, activation, settings, True, True, True)
    truth = dense_reference.dense_backward(
        grad.numpy(), x.numpy(), weight.numpy(), bias.numpy(), activation, dropout, 1, 2, 3
    )
    assert_same(result, truth)


@on_cpu
@pytest.mark.parametrize("negative_slope", [0.0, 0.1])
def test_the_position_of_a_nan_is_that_of_a_frame_with_it(backend, negative_slope):
    x = torch.rand(2, 37, 3)
    x[0, 5, 0] = x[0, 9, 1] = x[1, 36, 2] = NAN
    values, positions = pf.encode(x, -torch.ones(1, 3, 20), 16, negative_slope=negative_slope, backend=backend)
    assert values[0, 0].isnan().all() and values[1, 2].isnan().all() and values.isnan().sum() == 40
    assert set(positions[0, 0].tolist()) <= {5, 9} and set(positions[1, 2].tolist()) == {36}


@on_cpu
def test_a_nan_reaches_every_gradient_of_the_loss(backend):
    x = torch.rand(1, 8, 3)
    x[0, 5, 0] = NAN
    weights = torch.rand(1, 3, 2, requires_grad=True), torch.rand(1, 2, 3, requires_grad=True)
    loss = pf.partitioned_loss(x, None, None, *weights, torch.ones(1), torch.ones(2), 1.0, 4, backend=backend)
    loss.backward()
    assert loss.isnan() and all(w.grad.isnan().any() for w in weights)
