"""Embedding models: the same as plain PyTorch has it, a mixture that each learns by heart, and what is refused."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import partae_fast as pf
from partae_fast.audio import Spectrogram
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


def model(objective, **changes):
    found = EmbeddingSeparator(objective, **(SMALL | changes))
    found.spectrogram = Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    return found


@pytest.mark.parametrize("objective", ["sce", "sce-mi", "dc-mi"])
def test_the_loss_is_the_papers(objective):
    made, batch = model(objective), sampler().batch_at(0)
    mixture, parts, sources = batch
    heard = mixture.sqrt()
    heard = torch.stack([(item - item.mean()) / item.std(correction=0) for item in heard])
    e = made.embed(made.trunk(heard)[0]).view(*mixture.shape, 4)
    v = F.normalize(e.tanh(), dim=3, eps=1e-6)
    loudest = parts[..., 1] > parts[..., 0]
    if objective == "dc-mi":
        points, owner = v.flatten(1, 2), F.one_hot(loudest.flatten(1).long(), 2).float()
        difference = points @ points.mT - owner @ owner.mT
        wanted = difference.square().sum((1, 2)).mean() / points.shape[1] ** 2
    else:
        vectors = made.table[sources]
        agreement = torch.einsum("btfd,bsd->btfs", v, vectors)
        y = torch.stack([1 - 2.0 * loudest, 2.0 * loudest - 1], dim=3)
        wanted = -F.logsigmoid(y * agreement).mean()
    if objective != "sce":
        inferred = made.head(e).softmax(3) * mixture[..., None]
        wanted = made.alpha * wanted + (1 - made.alpha) * (parts - inferred).square().mean()
    found, weights = made.training_loss(batch, 0.0, "auto"), list(made.parameters())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    for gradient, true in zip(*(torch.autograd.grad(loss, weights) for loss in (found, wanted)), strict=True):
        assert (gradient - true).norm() <= 1e-4 * true.norm()


@pytest.mark.parametrize(
    ("objective", "inference"), [("sce", None), ("sce-mi", None), ("dc-mi", None), ("dc-mi", "cluster")]
)
def test_a_mixture_is_learnt_by_heart(objective, inference):
    pytest.importorskip("sklearn")
    made, one = model(objective, inference=inference, hidden=16), sampler(batch=2)
    item = one.batch_at(0)
    one.batch_at = lambda step, items=None: item
    pf.Trainer(made, one, penalty=0.0, optimizer="adam", learning_rate=0.02).run(150)
    sounds, _ = sampler(batch=2).sounds_at(0)
    found = pf.denoise(sounds[0].sum(0).numpy(), RATE, made)
    assert si_sdr(sounds[0, 0].numpy(), found) > 12


def test_a_recording_is_heard_in_one_piece_and_kept_on_disk(tmp_path):
    made = model("sce-mi")
    audio = sampler().sounds_at(1)[0].sum(1).flatten().numpy()
    spectra = torch.from_numpy(made.spectrogram.stft(audio))[None]
    with torch.no_grad():
        wanted = made.spectrogram.istft(made.estimate(spectra)[0].numpy(), len(audio))
    np.testing.assert_allclose(pf.denoise(audio, RATE, made), wanted, atol=1e-5)
    pf.save(made, tmp_path / "m.safetensors")
    np.testing.assert_array_equal(
        pf.denoise(audio, RATE, pf.load(tmp_path / "m.safetensors")), pf.denoise(audio, RATE, made)
    )


def test_as_many_clusters_as_are_asked_for():
    pytest.importorskip("sklearn")
    made, mixture = model("sce"), sampler().batch_at(0)[0]
    found = made.clusters(mixture[:1], 3)
    assert set(found.unique().tolist()) == {0, 1, 2}
    v = unit(made.embeddings(mixture[:1]))
    centres = torch.stack([v[found == number].mean(0) for number in range(3)])
    nearest = torch.cdist(v[0].flatten(0, 1), centres).argmin(1)
    assert (nearest == found[0].flatten()).float().mean() > 0.99


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "mi"}, "objective is 'mi'; choose one of sce, sce-mi, dc-mi"),
        ({"objective": "sce", "inference": "mask"}, "has no mask"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"layers": 0}, "layers is 0"),
        ({"affinity": "cubed"}, "affinity is 'cubed'"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        EmbeddingSeparator(**(SMALL | {"objective": "sce-mi"} | changes))
