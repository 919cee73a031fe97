"""One network for each source: sizes as published, the reference's values and gradients, segments and masks."""

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
def test_networks_have_as_many_parameters_as_the_paper_says(network, parameters):
    assert sum(p.numel() for p in network().parameters()) == parameters


def test_the_layers_are_those_of_table_1():
    weights = [tuple(w.shape) for w in ConvDAE().weights]
    pairs = zip([1, 12, 20, 30, 40, 30, 20, 12], [12, 20, 30, 40, 30, 20, 12, 1], strict=True)
    assert weights == [(3, 3, *pair) for pair in pairs]


@pytest.mark.parametrize("kind", NETWORKS)
def test_values_and_gradients_are_the_references(kind):
    make, forward, backward = NETWORKS[kind]
    network, random = make().double(), np.random.default_rng(0)
    x, wanted = random.random((2, 3 if kind == "cdae" else 1, 25)), random.random((2, 3 if kind == "cdae" else 1, 25))
    with torch.no_grad():  # biases that are 0 would hide that they are there
        for bias in network.biases:
            bias.copy_(torch.from_numpy(random.normal(0.1, 0.1, bias.shape)))
    layers = [(w.detach().numpy(), b.detach().numpy()) for w, b in zip(network.weights, network.biases, strict=True)]
    output = network(torch.from_numpy(x))
    loss = torch.nn.functional.mse_loss(output, torch.from_numpy(wanted))
    loss.backward()
    flat = (lambda a: a) if kind == "cdae" else (lambda a: a[:, 0])
    expected = forward(flat(x), layers)
    value, gradient = reference.loss(expected, flat(wanted))
    np.testing.assert_allclose(flat(output.detach().numpy()), expected, rtol=1e-10, atol=1e-12)
    assert loss.item() == pytest.approx(value, rel=1e-12)
    found = zip(network.weights, network.biases, backward(gradient, flat(x), layers), strict=True)
    for weight, bias, (of_weight, of_bias) in found:
        assert np.abs(of_weight).max() > 0
        np.testing.assert_allclose(weight.grad.numpy(), of_weight, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(bias.grad.numpy(), of_bias, rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_mean_over_the_networks_and_they_share_nothing():
    model = pf.FeedForwardSeparator(["a", "b"], bins=8, seed=1)
    x, wanted = torch.rand(5, 1, 8), torch.rand(5, 2, 1, 8)
    loss = model.training_loss((x, wanted), 0.0, "auto")
    alone = [reference.loss(model(x)[:, s].detach().numpy(), wanted[:, s].numpy())[0] for s in range(2)]
    assert loss.item() == pytest.approx(np.mean(alone), rel=1e-6)
    first, second = (next(network.parameters()) for network in model.networks)
    assert not torch.equal(first, second)
    wanted[:, 1] = model(x)[:, 1].detach()
    model.training_loss((x, wanted), 0.0, "auto").backward()
    assert first.grad is not None and first.grad.any()
    assert second.grad is not None and not second.grad.any()


def test_a_scale_is_of_magnitudes_before_and_behind_the_networks():
    model, x, wanted = pf.FeedForwardSeparator(["a", "b"], bins=8, seed=1), torch.rand(5, 1, 8), torch.rand(5, 2, 1, 8)
    plain, loss, scale = model(x), model.training_loss((x, wanted), 0.0, "auto"), torch.rand(8) + 0.1
    model.scale.copy_(scale)
    torch.testing.assert_close(model(x * scale), plain * scale)
    torch.testing.assert_close(model.training_loss((x * scale, wanted * scale), 0.0, "auto"), loss)


def test_masks_share_out_the_mixture_and_are_equal_where_there_is_nothing():
    estimates = torch.tensor([[[3.0, 0.0, 1e-30]], [[1.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]])
    masks = ratio_masks(estimates)
    np.testing.assert_allclose(masks.numpy(), reference.ratio_masks(estimates.numpy()), rtol=1e-6)
    np.testing.assert_allclose(masks[:, 0, 1], 1 / 3)
    np.testing.assert_allclose(masks.sum(0), 1, rtol=1e-6)


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 13])
@pytest.mark.parametrize("step", [None, 3, 2, 1])
def test_what_overlapping_segments_say_of_a_frame_is_averaged(frames, step):
    model = pf.ConvDAESeparator(["a", "b"], bins=25, frames=6, seed=2)
    x = torch.rand(frames, 25, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = model.estimates(x, step)
        step = step or 6
        total, count = np.zeros((2, frames, 25)), np.zeros(frames)
        for start in range(-6 + step, frames, step):
            segment = torch.zeros(6, 25)
            inside = range(max(start, 0), min(start + 6, frames))
            segment[inside.start - start : inside.stop - start] = x[inside.start : inside.stop]
            made = model(segment[None])[0]
            total[:, inside.start : inside.stop] += made[:, inside.start - start : inside.stop - start].numpy()
            count[inside.start : inside.stop] += 1
    assert set(count) == {6 // step}
    np.testing.assert_allclose(found.numpy(), total / count[:, None], rtol=1e-4, atol=1e-6)


def test_a_step_that_does_not_divide_a_segment_is_refused():
    with pytest.raises(pf.UserError, match="step is 4; it must divide a segment's 6 frames"):
        pf.ConvDAESeparator(["a"], bins=25, frames=6).estimates(torch.rand(12, 25), 4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_separator_is_one_file_with_the_names_of_its_sources(kind, tmp_path):
    model = KINDS[kind](["vocals", "a.b c"], bins=25, seed=4)
    model.spectrogram = pf.Spectrogram(rate=8000, n_fft=48, hop=12, low=0.0, high=4000.0, gain=2.5)
    pf.save(model, tmp_path / "m.safetensors")
    loaded = pf.load(tmp_path / "m.safetensors")
    assert type(loaded) is KINDS[kind] and loaded.sources == ("vocals", "a.b c")
    assert loaded.spectrogram == model.spectrogram and loaded.config() == model.config()
    x = torch.rand(20, 25)
    assert torch.equal(loaded.estimates(x), model.estimates(x))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"sources": []}, "sources are none"),
        ({"sources": ["a", "a"]}, "no two the same"),
        ({"sources": "ab"}, "give a list of names"),
        ({"sources": ["../a"]}, "'../a'; give a name that a file may have"),
        ({"sources": ["a/b"]}, "'a/b'; give a name"),
        ({"sources": ["a"], "bins": 26}, "bins is 26; pooling divides it by 25"),
        ({"sources": ["a"], "bins": 25, "frames": 4}, "frames is 4; pooling divides it by 3"),
        ({"sources": ["a"], "bins": 0}, "bins is 0; it must be a whole number, at least 1"),
        ({"sources": ["a"], "bins": 25, "seed": -1}, "seed -1 is out of range"),
    ],
)
def test_what_makes_no_separator_is_told(arguments, said):
    with pytest.raises(pf.UserError, match=said):
        pf.ConvDAESeparator(**arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_a_model_larger_than_itself_is_refused(kind, tmp_path):
    from partae_fast import checked_safetensors

    path, config = tmp_path / "m.safetensors", {"sources": ["a", "b"], "bins": 1_000_000, "seed": 0}
    settings = {"kind": kind, "config": config, "spectrogram": None, "mask": None, "program": ""}
    checked_safetensors.write(path, "partae-model", "1", settings, {"x": torch.zeros(3)})
    with pytest.raises(pf.UserError, match="of a larger model than its 3 numbers"):
        pf.load(path)
