"""The convolutional denoising autoencoder, compared with the partitioned autoencoder; training; arguments."""

import pytest
import torch

import partae_fast as pf

SHAPE = {"bins": 6, "latents": 5, "taps": 3, "pool": 4, "seed": 3, "negative_slope": 0.0, "rectified_output": False}


@pytest.fixture
def x():
    return torch.rand(2, 30, 6)


def test_it_equals_the_partitioned_network_without_background(x):
    denoising, partitioned = (
        pf.ConvDenoisingAutoencoder(**SHAPE),
        pf.ConvPartitionedAutoencoder(**SHAPE, background=0.0),
    )
    assert torch.equal(denoising(x), partitioned(x))
    assert denoising.foreground.tolist() == [1.0] * 5
    assert denoising.state_dict().keys() == partitioned.state_dict().keys()
    assert denoising.config() == SHAPE


def test_noise_is_input_minus_reconstruction(x):
    model = pf.ConvDenoisingAutoencoder(**SHAPE)
    signal, noise = model.separate(x)
    assert torch.equal(signal, model(x)) and torch.equal(noise, x - signal)


def test_training_removes_the_corruption():
    """Signal and corruption are in different halves of the bins."""
    rng = torch.Generator().manual_seed(0)
    song, rain = torch.rand(200, 6, generator=rng), 3 * torch.rand(200, 6, generator=rng)
    song[:, 3:] = 0
    rain[:, :3] = 0
    sampler = pf.CropSampler([[song]], [], frames=32, batch=8, noise_only=0.0, corruption=[[rain]])
    model = pf.ConvDenoisingAutoencoder(**SHAPE)
    corrupted, clean = sampler.batch_at(10**6)[0], sampler.target_at(10**6)

    def error():
        with torch.no_grad():
            return float(((model(corrupted) - clean) ** 2).sum())

    before = error()
    pf.Trainer(model, sampler).run(300)
    assert error() < 0.5 * before
    assert error() < 0.2 * float(((corrupted - clean) ** 2).sum())


def test_arguments_out_of_range_are_rejected():
    with pytest.raises(pf.UserError, match="latents is 0; it must be a whole number, at least 1"):
        pf.ConvDenoisingAutoencoder(latents=0)
    with pytest.raises(pf.UserError, match=r"negative_slope is 1\.0; it must be from 0 up to, not including, 1"):
        pf.ConvDenoisingAutoencoder(negative_slope=1.0)
