"""The base class of the convolutional autoencoders: initial values, rectifiers, arguments."""

import pytest
import torch

import partae_fast as pf

SHAPE = {"bins": 6, "latents": 5, "taps": 3, "pool": 4, "seed": 3, "negative_slope": 0.0, "rectified_output": False}


@pytest.fixture
def x():
    return torch.rand(2, 30, 6)


@pytest.mark.parametrize("kind", [pf.ConvDenoisingAutoencoder, pf.ConvPartitionedAutoencoder])
def test_initial_buffers_do_not_normalise(kind):
    model = kind(**SHAPE)
    assert model.mean.tolist() == model.noise_mean_square.tolist() == [0.0] * 6 and model.std.tolist() == [1.0] * 6
    assert model.w_enc.shape == (3, 6, 5) and model.w_dec.shape == (3, 5, 6)


@pytest.mark.parametrize("kind", [pf.ConvDenoisingAutoencoder, pf.ConvPartitionedAutoencoder])
def test_rectifiers_follow_the_arguments(kind, x):
    plain = kind(**SHAPE)
    leaky, rectified = kind(**SHAPE | {"negative_slope": 0.25}), kind(**SHAPE | {"rectified_output": True})
    assert (plain.latents(x)[0] >= 0).all() and (leaky.latents(x)[0] < 0).any()
    assert (plain(x) < 0).any()
    assert torch.equal(rectified(x), plain(x).clamp(min=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bins": 0}, "bins is 0; it must be a whole number, at least 1"),
        ({"pool": 1.5}, "pool is 1.5; it must be a whole number, at least 1"),
        ({"rectified_output": 2}, "rectified_output is 2; it must be true or false"),
        ({"seed": -1}, "seed -1 is out of range"),
    ],
)
def test_arguments_out_of_range_are_rejected(arguments, message):
    with pytest.raises(pf.UserError, match=message):
        pf.ConvPartitionedAutoencoder(**SHAPE | arguments)
