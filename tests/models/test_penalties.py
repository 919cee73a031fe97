"""Penalties: values and gradients of their plain formulas, and no gradient where there is no penalty."""

import pytest
import torch

from partae_fast.models.penalties import latent_penalty, weight_penalty


def drawn(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def assert_same(ours, plain, *tensors):
    """Compare two scalars, and their gradients when they are a part of a larger loss."""
    torch.testing.assert_close(ours, plain)
    for gradient, expected in zip(*(torch.autograd.grad(-3 * y, tensors) for y in (ours, plain)), strict=True):
        torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize(("l2", "l1"), [(0.5, 0.25), (0.0, 2.0), (3.0, 0.0), (0.0, 0.0)])
def test_weight_penalty(l2, l1):
    weights = [drawn(5, 3), drawn(4, 7).t(), torch.zeros(2, 2, dtype=torch.float64)]
    weights = [w.requires_grad_() for w in weights]
    plain = sum(l2 * w.square().sum() + l1 * w.abs().sum() for w in weights)
    assert_same(weight_penalty(weights, l2, l1), plain, *weights)


@pytest.mark.parametrize("first", [0, 2, 6])
def test_latent_penalty(first):
    latents, items = drawn(5, 7).requires_grad_(), torch.tensor([0.0, 1.0, 0.5, 1.0, 0.0], dtype=torch.float64)
    plain = (items[:, None] * latents[:, first:].square()).sum()
    assert_same(latent_penalty(latents, first, items), plain, latents)
