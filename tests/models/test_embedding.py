"""Embedding models: losses compared with plain PyTorch, overfitting of one batch, clusters, files, arguments."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import partae_fast as pf
from partae_fast.audio import Spectrogram
from partae_fast.denoising.edges import Edges
from partae_fast.errors import UserError
from partae_fast.metrics import si_sdr
from partae_fast.models.embedding import EmbeddingSeparator, unit
from partae_fast.sampling.mixtures import MixtureSampler

RATE = 1000
SMALL = {"bins": 33, "voices": 2, "noises": 1, "layers": 1, "hidden": 8, "dimensions": 4}


def sampler(batch=4):
    time = np.arange(1500) / RATE
    voices = {f"{f} Hz": [np.sin(2 * np.pi * f * time) * (np.sin(2 * np.pi * 2 * time) > 0)] for f in (60, 140)}
    noises = {"hum": [np.sin(2 * np.pi * 330 * time) * (np.sin(2 * np.pi * 3 * time) > 0)]}
    return MixtureSampler(voices, noises, rate=RATE, seconds=0.6, n_fft=64, hop=16, batch=batch)


def make_model(objective, **changes):
    model = EmbeddingSeparator(objective, **(SMALL | changes))
    model.spectrogram = Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    return model


@pytest.mark.parametrize("objective", ["sce", "sce-mi", "dc-mi"])
def test_training_loss_matches_plain_pytorch(objective):
    model, batch = make_model(objective), sampler().batch_at(0)
    mixture, parts, sources = batch
    standardised = torch.stack([(item - item.mean()) / item.std(correction=0) for item in mixture.sqrt()])
    e = model.embed(model.trunk(standardised)[0]).view(*mixture.shape, 4)
    v = F.normalize(e.tanh(), dim=3, eps=1e-6)
    loudest = parts[..., 1] > parts[..., 0]
    if objective == "dc-mi":
        points, sources_of_points = v.flatten(1, 2), F.one_hot(loudest.flatten(1).long(), 2).float()
        difference = points @ points.mT - sources_of_points @ sources_of_points.mT
        expected = difference.square().sum((1, 2)).mean() / points.shape[1] ** 2
    else:
        vectors = model.table[sources]
        agreement = torch.einsum("btfd,bsd->btfs", v, vectors)
        y = torch.stack([1 - 2.0 * loudest, 2.0 * loudest - 1], dim=3)
        expected = -F.logsigmoid(y * agreement).mean()
    if objective != "sce":
        estimates = model.head(e).softmax(3) * mixture[..., None]
        expected = model.alpha * expected + (1 - model.alpha) * (parts - estimates).square().mean()
    loss, weights = model.training_loss(batch, 0.0, "auto"), list(model.parameters())
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)
    for gradient, reference in zip(*(torch.autograd.grad(value, weights) for value in (loss, expected)), strict=True):
        assert (gradient - reference).norm() <= 1e-4 * reference.norm()


def test_input_is_scaled_from_0_to_1_over_each_recording(tmp_path):
    model, (mixture, _, _) = make_model("sce-mi", scaling="unit"), sampler().batch_at(0)
    louder = mixture * torch.tensor([1.0, 4.0, 9.0, 16.0])[:, None, None]
    seen = []
    model.trunk.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    torch.testing.assert_close(model.masks(louder), model.masks(mixture))
    lowest = mixture.sqrt().amin((1, 2), keepdim=True)
    expected = (mixture.sqrt() - lowest) / (mixture.sqrt().amax((1, 2), keepdim=True) - lowest)
    torch.testing.assert_close(seen[1], expected)
    assert seen[1].min() == 0 and seen[1].max() == 1
    pf.save(model, tmp_path / "m.safetensors")
    assert pf.load(tmp_path / "m.safetensors").scaling == "unit"
    assert EmbeddingSeparator(**SMALL).scaling == "standard"  # of files without the setting, from before it


@pytest.mark.parametrize(
    ("objective", "inference"), [("sce", None), ("sce-mi", None), ("dc-mi", None), ("dc-mi", "cluster")]
)
def test_training_can_overfit_one_batch(objective, inference):
    pytest.importorskip("sklearn")
    model, one_batch = make_model(objective, inference=inference, hidden=16), sampler(batch=2)
    batch = one_batch.batch_at(0)
    one_batch.batch_at = lambda step, items=None: batch
    pf.Trainer(model, one_batch, penalty=0.0, optimizer="adam", learning_rate=0.02).run(150)
    sounds, _ = sampler(batch=2).sounds_at(0)
    estimate = pf.denoise(sounds[0].sum(0).numpy(), RATE, model)
    assert si_sdr(sounds[0, 0].numpy(), estimate) > 12


def test_denoise_uses_the_whole_recording_and_saved_models_denoise_equally(tmp_path):
    model = make_model("sce-mi")
    audio = sampler().sounds_at(1)[0].sum(1).flatten().numpy()
    edges = Edges(model.spectrogram, RATE)
    extended = np.concatenate(list(edges.extend([audio[:, None]])))[:, 0]
    spectra = torch.from_numpy(model.spectrogram.stft(extended))[None]
    with torch.no_grad():
        whole = model.spectrogram.istft(model.estimate(spectra)[0].numpy(), len(extended))
    expected = next(edges.cut([whole[:, None]]))[:, 0]
    np.testing.assert_allclose(pf.denoise(audio, RATE, model), expected, atol=1e-5)
    pf.save(model, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        pf.denoise(audio, RATE, pf.load(tmp_path / "m.safetensors")), pf.denoise(audio, RATE, model)
    )


def test_clusters_assign_points_to_the_nearest_centre():
    pytest.importorskip("sklearn")
    model, mixture = make_model("sce"), sampler().batch_at(0)[0]
    clusters = model.clusters(mixture[:1], 3)
    assert set(clusters.unique().tolist()) == {0, 1, 2}
    v = unit(model.embeddings(mixture[:1]))
    centres = torch.stack([v[clusters == number].mean(0) for number in range(3)])
    nearest = torch.cdist(v[0].flatten(0, 1), centres).argmin(1)
    assert (nearest == clusters[0].flatten()).float().mean() > 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "mi"}, "objective is 'mi'; choose one of sce, sce-mi, dc-mi"),
        ({"objective": "sce", "inference": "mask"}, "has no mask head"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"layers": 0}, "layers is 0"),
        ({"affinity": "cubed"}, "affinity is 'cubed'"),
        ({"scaling": "log"}, "scaling is 'log'; choose one of standard, unit"),
    ],
)
def test_arguments_out_of_range_are_rejected(changes, message):
    with pytest.raises(UserError, match=message):
        EmbeddingSeparator(**(SMALL | {"objective": "sce-mi"} | changes))
