"""Orthonormal filters, and the library's filters against the reference's."""

import numpy as np
import pytest

from partae_fast.models.initialisation import orthogonal
from partae_fast.reference import initialisation as reference

SHAPES = [(9, 32, 32), (3, 5, 15), (2, 3, 17), (1, 1, 1), (1, 1, 3)]  # K below, at and above M H


@pytest.mark.parametrize(("taps", "bins", "latents"), SHAPES)
def test_filters_are_orthonormal_in_blocks(taps, bins, latents):
    length = taps * bins
    w_enc, w_dec = reference.orthogonal(taps, bins, latents, seed=5)
    assert w_enc.shape == (taps, bins, latents)
    assert w_dec.shape == (taps, latents, bins)
    for flat in (w_enc.reshape(length, latents), w_dec.transpose(0, 2, 1).reshape(length, latents)):
        for first in range(0, latents, length):
            block = flat[:, first : first + length]
            np.testing.assert_allclose(block.T @ block, np.eye(block.shape[1]), atol=1e-13)


@pytest.mark.parametrize(("taps", "bins", "latents"), SHAPES)
def test_the_library_draws_the_same(taps, bins, latents):
    for ours, truth in zip(
        orthogonal(taps, bins, latents, seed=5),
        reference.orthogonal(taps, bins, latents, seed=5),
        strict=True,
    ):
        np.testing.assert_allclose(ours.numpy(), truth, rtol=1e-6, atol=1e-7)
        assert ours.is_contiguous()


def test_draws_differ_by_seed_and_by_layer():
    one, other = reference.orthogonal(3, 4, 5, seed=0), reference.orthogonal(3, 4, 5, seed=1)
    assert np.abs(one[0] - other[0]).min() > 1e-6
    assert np.abs(one[0] - one[1].transpose(0, 2, 1)).min() > 1e-6


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        orthogonal(3, 4, 5, seed=-1)
