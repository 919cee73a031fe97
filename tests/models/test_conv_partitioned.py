"""The partitioned autoencoder: the partition of its latents, and the signal and noise that they reconstruct."""

import pytest
import torch

import partae_fast as pf


def make_model(background, **settings):
    return pf.ConvPartitionedAutoencoder(bins=6, latents=8, taps=3, pool=4, background=background, seed=3, **settings)


@pytest.mark.parametrize(("background", "latents"), [(0.0, 0), (0.25, 2), (0.5, 4), (1.0, 8)])
def test_first_latents_are_background(background, latents):
    assert make_model(background).foreground.tolist() == [0.0] * latents + [1.0] * (8 - latents)


@pytest.mark.parametrize("rectified_output", [False, True])
def test_signal_and_noise_add_up_to_the_decoded_latents(rectified_output):
    model, x = make_model(0.25, rectified_output=rectified_output), torch.rand(2, 30, 6)
    signal, noise = model.separate(x)
    decoded = signal + noise
    torch.testing.assert_close(decoded.relu() if rectified_output else decoded, model(x))
    assert (decoded < 0).any() and signal.abs().sum() > 0 and noise.abs().sum() > 0


@pytest.mark.parametrize(("background", "silent"), [(0.0, 1), (1.0, 0)])
def test_a_part_without_latents_is_0(background, silent):
    assert not make_model(background).separate(torch.rand(2, 30, 6))[silent].any()


def test_background_out_of_range_is_rejected():
    with pytest.raises(pf.UserError, match=r"background is 1\.5; it is a share of the latents, from 0 to 1"):
        make_model(1.5)
