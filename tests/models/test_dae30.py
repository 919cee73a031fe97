"""DAE-30: its layers, its patches, and a mixture that it learns by heart."""

import numpy as np
import torch
import torch.nn.functional as F

import partae_fast as pf
from partae_fast.metrics import si_sdr
from partae_fast.models.dae30 import DAE30, standardised

from .test_embedding import RATE, sampler


def test_there_are_thirty_layers_and_seven_skips():
    model, x = DAE30(filters=3, bins=9), torch.rand(1, 12, 9)
    numbers = 2 * 14 * 25 * 9 + 2 * 25 * 3 + 29 * 3 + 1  # weights inside and at the ends, biases
    assert sum(p.numel() for p in model.parameters()) == numbers
    heard, deviation = standardised(x)
    kept, h = {}, heard[:, None]
    for number, layer in enumerate(model.down, start=1):
        h = kept[number] = F.conv2d(h, layer.weight, layer.bias, padding=2).relu()
    for number, layer in zip(range(15, 0, -1), model.up, strict=True):
        h = h + kept[number] if number in (2, 4, 6, 8, 10, 12, 14) else h
        h = F.conv_transpose2d(h, layer.weight, layer.bias, padding=2).relu()
    torch.testing.assert_close(model(x), (h[:, 0] * deviation) ** 2)


def test_patches_are_of_the_same_place_of_both_and_move_with_the_step():
    model, items = DAE30(filters=1, bins=9, patch=4), torch.rand(3, 12, 9)
    places = []
    for step in (0, 0, 1):
        model.step = step
        one, other = model._patches(items, 2 * items)
        torch.testing.assert_close(other, 2 * one)
        places.append(one)
    torch.testing.assert_close(places[0], places[1])
    assert not torch.equal(places[0], places[2])
    windows = items.unfold(1, 4, 1).unfold(2, 4, 1)  # (3, 9, 6, 4, 4)
    for item in range(3):
        assert (windows[item] == places[0][item]).all((2, 3)).any()


def test_a_mixture_is_learnt_by_heart():
    one = sampler(batch=2)
    item = one.batch_at(0)
    one.batch_at = lambda step, items=None: item
    model = DAE30(filters=8, bins=33, seed=1)
    model.spectrogram = pf.Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    pf.Trainer(model, one, penalty=0.0, optimizer="adam", learning_rate=1e-3).run(80)
    sounds, _ = sampler(batch=2).sounds_at(0)
    assert si_sdr(sounds[0, 0].numpy(), pf.denoise(sounds[0].sum(0).numpy(), RATE, model)) > 12


def test_each_item_is_brought_to_one_scale():
    x = torch.rand(2, 30, 9) * torch.tensor([1.0, 100.0])[:, None, None]
    heard, deviation = standardised(x)
    np.testing.assert_allclose(heard.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(heard.std((1, 2), correction=0), 1, atol=1e-5)
    assert deviation.shape == (2, 1, 1)
