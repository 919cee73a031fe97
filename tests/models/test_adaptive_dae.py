"""The adaptive denoising autoencoder: equality with the reference, stacks, estimates, files."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.adaptive_dae import AdaptiveDenoisingAutoencoder, stack_frames, unstack_frames
from partae_fast.reference import adaptive_dae as reference

BINS = 9


@pytest.fixture
def model():
    return AdaptiveDenoisingAutoencoder(bins=BINS, context=3, hidden=12, dropout=0.25, seed=4).double()


def arrays(layers):
    """Return weights and biases of the layers as NumPy arrays."""
    pairs = zip(layers.weights, layers.biases, strict=True)
    return [(w.detach().numpy(), b.detach().numpy()) for w, b in pairs]


def assert_gradients(layers, expected):
    for weight, bias, (weight_gradient, bias_gradient) in zip(layers.weights, layers.biases, expected, strict=True):
        np.testing.assert_allclose(weight.grad.numpy(), weight_gradient, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bias.grad.numpy(), bias_gradient, rtol=1e-9, atol=1e-12)


def test_training_loss_matches_the_reference(model):
    mixture, clean = torch.rand(2, 5, 3 * BINS, dtype=torch.float64)
    model.step = 7
    loss = model.training_loss((mixture, clean), 0.0, "auto")
    loss.backward()
    expected, of_bottom, of_top = reference.training_loss(
        arrays(model.bottom), arrays(model.top), mixture.numpy(), clean.numpy(), 0.25, seed=4, step=7
    )
    assert loss.item() == pytest.approx(expected)
    assert_gradients(model.bottom, of_bottom)
    assert_gradients(model.top, of_top)


def test_training_loss_is_half_the_squared_error_of_both_networks():
    model = AdaptiveDenoisingAutoencoder(bins=BINS, hidden=12, dropout=0.0).double()
    mixture, clean = torch.rand(2, 5, BINS, dtype=torch.float64)
    with torch.no_grad():
        outputs = [network(x, 0.0, 0, "auto") for network, x in ((model.bottom, mixture), (model.top, clean))]
        squares = sum(float((output - clean).square().sum()) for output in outputs)
        assert float(model.training_loss((mixture, clean), 0.0, "auto")) == pytest.approx(squares / 2)


@pytest.mark.parametrize("gradient", ["through", "held"])
def test_purity_error_matches_the_reference(model, gradient):
    x = torch.rand(5, 3 * BINS, dtype=torch.float64)
    error, power = model.purity_error(x, gradient)
    error.backward()
    expected = reference.purity_error(arrays(model.bottom), arrays(model.top), x.numpy(), held=gradient == "held")
    assert (error.item(), power.item()) == pytest.approx(expected[:2])
    assert_gradients(model.bottom, expected[2])


def test_unstack_frames_inverts_stack_frames():
    x = torch.rand(2, 6, BINS)
    torch.testing.assert_close(unstack_frames(stack_frames(x, 5), 5), x)


def test_a_frame_of_the_output_depends_on_taps_frames_of_the_input(model):
    x = torch.rand(1, 20, BINS, dtype=torch.float64)
    reach = model.taps // 2
    torch.testing.assert_close(model(x[:, 5 - reach : 12 + reach])[:, reach:-reach], model(x)[:, 5:12])


def test_estimate_has_phases_and_level_of_the_mixture():
    model = AdaptiveDenoisingAutoencoder(bins=33, hidden=8)
    model.spectrogram = pf.Spectrogram(rate=8000, n_fft=64, hop=16, low=0.0, high=4000.0, window="sqrt-hann", gain=2.0)
    spectra = torch.randn(2, 10, 33, dtype=torch.complex64)
    spectra[0, 0, 0] = 0
    with torch.no_grad():
        estimate = model.estimate(spectra)
        torch.testing.assert_close(estimate.abs()[0, 1:], model(2 * spectra.abs())[0, 1:] / 2)
    assert estimate[0, 0, 0] == 0
    product = estimate[1] * spectra[1].conj()
    assert (product.imag.abs() <= 1e-5 * product.abs().max()).all() and (product.real >= 0).all()
    audio = np.random.default_rng(0).normal(size=500).astype(np.float32)
    signal, noise = (pf.denoise(audio, 8000, model, part) for part in ("signal", "noise"))
    np.testing.assert_allclose(signal + noise, audio, atol=1e-5)


def test_saved_model_is_restored(model, tmp_path):
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


@pytest.mark.parametrize("arguments", [{"context": 2}, {"hidden": 0}, {"dropout": 1.0}, {"bins": 1.5}, {"seed": -1}])
def test_arguments_out_of_range_are_rejected(arguments):
    with pytest.raises(pf.UserError, match=next(iter(arguments))):
        AdaptiveDenoisingAutoencoder(**arguments)
