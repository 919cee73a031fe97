"""Initial weights of dense and convolutional layers; for orthonormal filters, see tests/reference."""

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.models.initialisation import glorot, orthogonal


@pytest.mark.parametrize(("shape", "fans"), [((300, 200), 500), ((3, 3, 20, 30), 9 * 50)])
def test_glorot_weights_are_uniform_within_the_limit(shape, fans):
    weights = glorot(shape, 0, 0).numpy()
    limit = np.sqrt(6 / fans)
    assert 0.99 * limit < np.abs(weights).max() <= limit
    assert weights.std() == pytest.approx(limit / np.sqrt(3), rel=0.02) and abs(weights.mean()) < 0.05 * limit


def test_glorot_weights_depend_on_seed_and_layer():
    weights = [glorot((4, 5), *numbers).numpy() for numbers in ((0, 0), (1, 0), (0, 1), (0, 0, 1))]
    assert np.array_equal(weights[0], glorot((4, 5), 0, 0).numpy())
    assert all(np.abs(weights[0] - other).min() > 1e-6 for other in weights[1:])


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_rejected(seed):
    for draw in (lambda: orthogonal(3, 4, 5, seed), lambda: glorot((4, 5), seed, 0)):
        with pytest.raises(UserError, match=f"seed {seed} is out of range"):
            draw()
