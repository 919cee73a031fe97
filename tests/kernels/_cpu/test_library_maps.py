"""Convolutions of maps by PyTorch's library, against the reference."""

import numpy as np
import pytest
import torch

from partae_fast.kernels._cpu.library_maps import by_library, convolve_by_library, library_gradients
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
    arguments = [t.double().numpy() for t in (x, weight, bias)]
    expected, places = conv2d_pool(*arguments, pool, relu)
    values, positions = torch.from_numpy(expected).float(), torch.from_numpy(places.astype(np.int32))
    if pool == (1, 1):
        values, positions = convolve_by_library(x, weight, bias, relu), torch.empty(0, dtype=torch.int32)
        np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-4)
    grad = random(*values.shape, seed=3)
    gradients = library_gradients(grad, x, weight, values, positions, pool, relu, (True, True, True))
    truth = conv2d_pool_backward(grad.double().numpy(), *arguments[:2], expected, places, pool, relu)
    for gradient, exact in zip(gradients, truth, strict=True):
        error = np.sqrt(np.square(gradient.numpy() - exact).mean() / np.square(exact).mean())
        assert error < 1e-5
    nothing = library_gradients(grad, x, weight, values, positions, pool, relu, (False, False, False))
    assert nothing == (None, None, None)


def test_many_channels_in_float32_go_to_the_library():
    assert by_library(torch.zeros(1, 1, 1, 8), torch.zeros(3, 3, 8, 8))
    assert not by_library(torch.zeros(1, 1, 1, 7), torch.zeros(3, 3, 7, 8))
    assert not by_library(torch.zeros(1, 1, 1, 8).double(), torch.zeros(3, 3, 8, 8).double())
