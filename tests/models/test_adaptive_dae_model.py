"""The adaptive denoising autoencoder against the reference; stacks; its estimate of a signal; its file."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.adaptive_dae import AdaptiveDenoisingAutoencoder, stacks, unstacked
from partae_fast.reference import adaptive_dae as reference

BINS = 9


@pytest.fixture
def model():
    return AdaptiveDenoisingAutoencoder(bins=BINS, context=3, hidden=12, dropout=0.25, seed=4).double()


def network(layers):
    pairs = zip(layers.weights, layers.biases, strict=True)
    return [(w.detach().numpy(), b.detach().numpy()) for w, b in pairs]


def assert_gradients(layers, wanted):
    for weight, bias, (w, b) in zip(layers.weights, layers.biases, wanted, strict=True):
        np.testing.assert_allclose(weight.grad.numpy(), w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bias.grad.numpy(), b, rtol=1e-9, atol=1e-12)


def test_training_is_that_of_the_reference(model):
    mixture, clean = torch.rand(2, 5, 3 * BINS, dtype=torch.float64)
    model.step = 7
    loss = model.training_loss((mixture, clean), 0.0, "auto")
    loss.backward()
    wanted, of_bottom, of_top = reference.training_loss(
        network(model.bottom), network(model.top), mixture.numpy(), clean.numpy(), 0.25, seed=4, step=7
    )
    assert loss.item() == pytest.approx(wanted)
    assert_gradients(model.bottom, of_bottom)
    assert_gradients(model.top, of_top)


@pytest.mark.parametrize("gradient", ["through", "held"])
def test_purity_is_that_of_the_reference(model, gradient):
    x = torch.rand(5, 3 * BINS, dtype=torch.float64)
    error, power = model.purity_error(x, gradient)
    error.backward()
    networks = network(model.bottom), network(model.top)
    wanted = reference.purity_error(*networks, x.numpy(), held=gradient == "held")
    assert (error.item(), power.item()) == pytest.approx(wanted[:2])
    assert_gradients(model.bottom, wanted[2])


def test_frames_of_stacks_are_the_frames():
    x = torch.rand(2, 6, BINS)
    torch.testing.assert_close(unstacked(stacks(x, 5), 5), x)


def test_a_stretch_of_a_recording_has_the_frames_of_the_whole(model):
    """What denoising relies on when it cuts a recording: a frame depends on no frames but taps around it."""
    x = torch.rand(1, 20, BINS, dtype=torch.float64)
    reach = model.taps // 2
    torch.testing.assert_close(model(x[:, 5 - reach : 12 + reach])[:, reach:-reach], model(x)[:, 5:12])


def test_the_estimate_has_the_phases_of_the_mixture_and_its_level():
    model = AdaptiveDenoisingAutoencoder(bins=33, hidden=8)
    model.spectrogram = pf.Spectrogram(rate=8000, n_fft=64, hop=16, low=0.0, high=4000.0, window="sqrt-hann", gain=2.0)
    spectra = torch.randn(2, 10, 33, dtype=torch.complex64)
    spectra[0, 0, 0] = 0
    with torch.no_grad():
        estimate = model.estimate(spectra)
        torch.testing.assert_close(estimate.abs()[0, 1:], model(2 * spectra.abs())[0, 1:] / 2)
    assert estimate[0, 0, 0] == 0
    heard = estimate[1] * spectra[1].conj()
    assert (heard.imag.abs() <= 1e-5 * heard.abs().max()).all() and (heard.real >= 0).all()
    audio = np.random.default_rng(0).normal(size=500).astype(np.float32)
    signal, noise = (pf.denoise(audio, 8000, model, part) for part in ("signal", "noise"))
    np.testing.assert_allclose(signal + noise, audio, atol=1e-5)


def test_what_is_saved_is_loaded(model, tmp_path):
    model = model.float()
    model.spectrogram = pf.Spectrogram(rate=8000, n_fft=16, hop=4, low=0.0, high=4000.0, window="sqrt-hann")
    model.level.fill_(1.0)
    model.purity.fill_(0.05)
    pf.save(model, tmp_path / "m.safetensors")
    loaded = pf.load(tmp_path / "m.safetensors")
    assert loaded.config() == model.config() and loaded.spectrogram == model.spectrogram
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("wrong", [{"context": 2}, {"hidden": 0}, {"dropout": 1.0}, {"bins": 1.5}, {"seed": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(pf.UserError, match=next(iter(wrong))):
        AdaptiveDenoisingAutoencoder(**wrong)
