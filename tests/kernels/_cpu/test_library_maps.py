"""Convolutions of maps by PyTorch's library: against the reference, with ties, NaN and short windows."""

import numpy as np
import pytest
import torch

from partae_fast.kernels._cpu.library_maps import by_library, convolve_by_library, library_gradients, pool_of
from partae_fast.reference.conv2d_pool import conv2d_pool, conv2d_pool_backward

SHAPES = [(1, 1, 1, 8, 5), (2, 1, 7, 9, 33), (2, 5, 1, 12, 20), (3, 4, 11, 30, 40)]  # B, N, H, C, D


def random(*size, seed=0):
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("pool", [(1, 1), (1, 5), (3, 2), (9, 9)])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_the_references(shape, pool, relu):
    b, n, h, c, d = shape
    x, weight, bias = random(b, n, h, c), random(3, 3, c, d, seed=1), random(d, seed=2)
    assert by_library(x, weight)
    z = convolve_by_library(x, weight, bias, relu and pool == (1, 1))
    values, positions = (z, torch.empty(0, dtype=torch.int32)) if pool == (1, 1) else pool_of(z, pool, relu)
    arguments = [t.double().numpy() for t in (x, weight, bias)]
    expected, places = conv2d_pool(*arguments, pool, relu)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-4)
    if pool != (1, 1):
        np.testing.assert_array_equal(positions.numpy(), places)
    grad = random(*values.shape, seed=3)
    gradients = library_gradients(grad, x, weight, values, positions, pool, relu, (True, True, True))
    truth = conv2d_pool_backward(grad.double().numpy(), *arguments[:2], expected, places, pool, relu)
    for gradient, exact in zip(gradients, truth, strict=True):
        error = np.sqrt(np.square(gradient.numpy() - exact).mean() / np.square(exact).mean())
        assert error < 1e-5
    nothing = library_gradients(grad, x, weight, values, positions, pool, relu, (False, False, False))
    assert nothing == (None, None, None)


@pytest.mark.parametrize("relu", [True, False])
def test_the_first_of_equal_maxima_and_nan_win(relu):
    z = torch.zeros(1, 2, 4, 9)
    z[0, 1, 1] = z[0, 1, 0] = 2.0
    z[0, 0, 3, 4], z[0, 1, 2, 4] = float("nan"), 5.0
    z[0, :, 2:, 5] = -1.0
    values, positions = pool_of(z, (2, 2), relu)
    assert (values[0, 0, 0] == 2).all() and (positions[0, 0, 0] == 2).all()
    assert values[0, 0, 1, 4].isnan() and positions[0, 0, 1, 4] == 1
    assert values[0, 0, 1, 5] == (0 if relu else -1) and positions[0, 0, 1, 5] == 0
    assert by_library(torch.zeros(1, 1, 1, 8), torch.zeros(3, 3, 8, 8))
    assert not by_library(torch.zeros(1, 1, 1, 7), torch.zeros(3, 3, 7, 8))
    assert not by_library(torch.zeros(1, 1, 1, 8).double(), torch.zeros(3, 3, 8, 8).double())
