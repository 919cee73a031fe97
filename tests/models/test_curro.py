"""The estimates of the Curro autoencoder; tests/models/test_dense_models.py compares its loss with the reference."""

import pytest
import torch

from partae_fast.errors import UserError
from partae_fast.models.curro import CurroAutoencoder


def make_model(part="signal", alpha=0.0):
    return CurroAutoencoder(n_fft=16, hidden=12, latents=6, decoder=6, part=part, alpha=alpha, seed=2)


def test_signal_follows_part():
    x = torch.rand(5, 9)
    signal, noise = make_model().halves(x)
    assert torch.equal(make_model("signal")(x), signal) and torch.equal(make_model("noise")(x), noise)
    torch.testing.assert_close(make_model("both", 0.5)(x), signal + 0.5 * noise)


def test_learn_alpha_finds_the_weight_of_the_noise_half_in_items_with_signal():
    model, x = make_model("both"), torch.rand(8, 9)
    with torch.no_grad():
        signal, noise = model.halves(x)
    target, noise_only = signal + 0.7 * noise, torch.zeros(8)
    target[0], noise_only[0] = 100.0, 1.0  # must be ignored
    assert model.learn_alpha([(x, target, noise_only)]) == pytest.approx(0.7, rel=1e-4) and model.alpha > 0


def test_learn_alpha_rejects_a_silent_noise_half():
    model, x = make_model("both"), torch.rand(8, 9)
    model.halves = lambda x: (x, torch.zeros_like(x))
    with pytest.raises(UserError, match="the noise half is silent in every batch"):
        model.learn_alpha([(x, x, torch.zeros(8))])
