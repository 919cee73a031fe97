"""Models with a network for each source: sizes, equality with the reference, segments, masks, files, arguments."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.models.cdae import ConvDAE
from partae_fast.models.fnn import FeedForward
from partae_fast.models.separation import ratio_masks
from partae_fast.reference import cdae as reference

KINDS = {"cdae": pf.ConvDAESeparator, "fnn": pf.FeedForwardSeparator}
NETWORKS = {
    "cdae": (lambda: ConvDAE(3), reference.convolutional, reference.convolutional_backward),
    "fnn": (lambda: FeedForward(25, 3), reference.feed_forward, reference.feed_forward_backward),
}


@pytest.mark.parametrize(("network", "parameters"), [(ConvDAE, 37_101), (FeedForward, 4_206_600)])
def test_networks_have_the_parameters_of_the_paper(network, parameters):
    assert sum(p.numel() for p in network().parameters()) == parameters


def test_cdae_has_the_layers_of_table_1():
    weights = [tuple(w.shape) for w in ConvDAE().weights]
    pairs = zip([1, 12, 20, 30, 40, 30, 20, 12], [12, 20, 30, 40, 30, 20, 12, 1], strict=True)
    assert weights == [(3, 3, *pair) for pair in pairs]


@pytest.mark.parametrize("kind", NETWORKS)
def test_values_and_gradients_match_the_reference(kind):
    make, forward, backward = NETWORKS[kind]
    network, random = make().double(), np.random.default_rng(0)
    x, target = random.random((2, 2, 3 if kind == "cdae" else 1, 25))
    with torch.no_grad():  # biases of 0 would hide an error in them
        for bias in network.biases:
            bias.copy_(torch.from_numpy(random.normal(0.1, 0.1, bias.shape)))
    layers = [(w.detach().numpy(), b.detach().numpy()) for w, b in zip(network.weights, network.biases, strict=True)]
    output = network(torch.from_numpy(x))
    loss = torch.nn.functional.mse_loss(output, torch.from_numpy(target))
    loss.backward()
    flat = (lambda a: a) if kind == "cdae" else (lambda a: a[:, 0])
    expected = forward(flat(x), layers)
    value, gradient = reference.loss(expected, flat(target))
    np.testing.assert_allclose(flat(output.detach().numpy()), expected, rtol=1e-10, atol=1e-12)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    gradients = backward(gradient, flat(x), layers)
    for weight, bias, (of_weight, of_bias) in zip(network.weights, network.biases, gradients, strict=True):
        assert np.abs(of_weight).max() > 0
        np.testing.assert_allclose(weight.grad.numpy(), of_weight, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bias.grad.numpy(), of_bias, rtol=1e-9, atol=1e-12)


def test_training_loss_is_the_mean_over_independent_networks():
    model = pf.FeedForwardSeparator(["a", "b"], bins=8, seed=1)
    x, target = torch.rand(5, 1, 8), torch.rand(5, 2, 1, 8)
    loss = model.training_loss((x, target), 0.0, "auto")
    losses = [reference.loss(model(x)[:, s].detach().numpy(), target[:, s].numpy())[0] for s in range(2)]
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-6)
    first, second = (next(network.parameters()) for network in model.networks)
    assert not torch.equal(first, second)
    target[:, 1] = model(x)[:, 1].detach()
    model.training_loss((x, target), 0.0, "auto").backward()
    assert first.grad is not None and first.grad.any()
    assert second.grad is not None and not second.grad.any()


def test_scale_divides_inputs_and_multiplies_outputs():
    model, x, target = pf.FeedForwardSeparator(["a", "b"], bins=8, seed=1), torch.rand(5, 1, 8), torch.rand(5, 2, 1, 8)
    plain, loss, scale = model(x), model.training_loss((x, target), 0.0, "auto"), torch.rand(8) + 0.1
    model.scale.copy_(scale)
    torch.testing.assert_close(model(x * scale), plain * scale)
    torch.testing.assert_close(model.training_loss((x * scale, target * scale), 0.0, "auto"), loss)


def test_ratio_masks_add_up_to_1_and_are_equal_if_all_estimates_are_0():
    estimates = torch.tensor([[[3.0, 0.0, 1e-30]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    masks = ratio_masks(estimates)
    np.testing.assert_allclose(masks.numpy(), reference.ratio_masks(estimates.numpy()), rtol=1e-6)
    np.testing.assert_allclose(masks[:, 0, 1], 1 / 3)
    np.testing.assert_allclose(masks.sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 13])
@pytest.mark.parametrize("step", [None, 3, 2, 1])
def test_estimates_of_overlapping_segments_are_averaged(frames, step):
    model = pf.ConvDAESeparator(["a", "b"], bins=25, frames=6, seed=2)
    x = torch.rand(frames, 25, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        estimates = model.estimates(x, step)
        step = step or 6
        total, count = np.zeros((2, frames, 25)), np.zeros(frames)
        for start in range(-6 + step, frames, step):
            segment = torch.zeros(6, 25)
            inside = range(max(start, 0), min(start + 6, frames))
            segment[inside.start - start : inside.stop - start] = x[inside.start : inside.stop]
            estimate = model(segment[None])[0]
            total[:, inside.start : inside.stop] += estimate[:, inside.start - start : inside.stop - start].numpy()
            count[inside.start : inside.stop] += 1
    assert set(count) == {6 // step}
    np.testing.assert_allclose(estimates.numpy(), total / count[:, None], rtol=1e-4, atol=1e-6)


def test_step_must_divide_the_frames_of_a_segment():
    with pytest.raises(pf.UserError, match="step is 4; it must divide the 6 frames of a segment"):
        pf.ConvDAESeparator(["a"], bins=25, frames=6).estimates(torch.rand(12, 25), 4)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_separator_keeps_the_names_of_its_sources(kind, tmp_path):
    model = KINDS[kind](["vocals", "a.b c"], bins=25, seed=4)
    model.spectrogram = pf.Spectrogram(rate=8000, n_fft=48, hop=12, low=0.0, high=4000.0, gain=2.5)
    pf.save(model, tmp_path / "m.safetensors")
    loaded = pf.load(tmp_path / "m.safetensors")
    assert type(loaded) is KINDS[kind] and loaded.sources == ("vocals", "a.b c")
    assert loaded.spectrogram == model.spectrogram and loaded.config() == model.config()
    x = torch.rand(20, 25)
    assert torch.equal(loaded.estimates(x), model.estimates(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, r"sources are \[\]; give one or more different names"),
        ({"sources": ["a", "a"]}, r"sources are \[a, a\]; give one or more different names"),
        ({"sources": "ab"}, "give a list of names"),
        ({"sources": ["../a"]}, "source '../a' is not a valid name of a file"),
        ({"sources": ["a/b"]}, "source 'a/b' is not a valid name of a file"),
        ({"sources": ["a"], "bins": 26}, "bins is 26; it must be a multiple of 25"),
        ({"sources": ["a"], "bins": 25, "frames": 4}, "frames is 4; it must be a multiple of 3"),
        ({"sources": ["a"], "bins": 0}, "bins is 0; it must be a whole number, at least 1"),
        ({"sources": ["a"], "bins": 25, "seed": -1}, "seed -1 is out of range"),
    ],
)
def test_arguments_out_of_range_are_rejected(arguments, message):
    with pytest.raises(pf.UserError, match=message):
        pf.ConvDAESeparator(**arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_configuration_that_needs_more_values_than_the_file_is_rejected(kind, tmp_path):
    from partae_fast import checked_safetensors

    path, config = tmp_path / "m.safetensors", {"sources": ["a", "b"], "bins": 1_000_000, "seed": 0}
    settings = {"kind": kind, "config": config, "spectrogram": None, "mask": None, "program": ""}
    checked_safetensors.write(path, "partae-model", "1", settings, {"x": torch.zeros(3)})
    with pytest.raises(pf.UserError, match="needs more values than the 3 in the file"):
        pf.load(path)
