"""DAE-30: layers, patches, standardisation, and overfitting of one mixture."""

import numpy as np
import torch
import torch.nn.functional as F

import partae_fast as pf
from partae_fast.metrics import si_sdr
from partae_fast.models.dae30 import DAE30, standardise

from .test_embedding import RATE, sampler


def test_forward_has_thirty_layers_and_seven_skips():
    model, x = DAE30(filters=3, bins=9), torch.rand(1, 12, 9)
    parameters = 2 * 14 * 25 * 9 + 2 * 25 * 3 + 29 * 3 + 1  # inner and outer weights, biases
    assert sum(p.numel() for p in model.parameters()) == parameters
    standardised, deviation = standardise(x)
    outputs, h = {}, standardised[:, None]
    for number, layer in enumerate(model.down, start=1):
        h = outputs[number] = F.conv2d(h, layer.weight, layer.bias, padding=2).relu()
    for number, layer in zip(range(15, 0, -1), model.up, strict=True):
        h = h + outputs[number] if number in (2, 4, 6, 8, 10, 12, 14) else h
        h = F.conv_transpose2d(h, layer.weight, layer.bias, padding=2).relu()
    torch.testing.assert_close(model(x), (h[:, 0] * deviation) ** 2)


def test_patches_have_the_same_position_in_both_tensors_and_move_with_the_step():
    model, items = DAE30(filters=1, bins=9, patch=4), torch.rand(3, 12, 9)
    patches = []
    for step in (0, 0, 1):
        model.step = step
        first, second = model._patches(items, 2 * items)
        torch.testing.assert_close(second, 2 * first)
        patches.append(first)
    torch.testing.assert_close(patches[0], patches[1])
    assert not torch.equal(patches[0], patches[2])
    windows = items.unfold(1, 4, 1).unfold(2, 4, 1)  # (3, 9, 6, 4, 4)
    for item in range(3):
        assert (windows[item] == patches[0][item]).all((2, 3)).any()


def test_training_can_overfit_one_batch():
    one_batch = sampler(batch=2)
    batch = one_batch.batch_at(0)
    one_batch.batch_at = lambda step, items=None: batch
    model = DAE30(filters=8, bins=33, seed=1)
    model.spectrogram = pf.Spectrogram(rate=RATE, n_fft=64, hop=16, low=0, high=RATE / 2)
    pf.Trainer(model, one_batch, penalty=0.0, optimizer="adam", learning_rate=1e-3).run(80)
    sounds, _ = sampler(batch=2).sounds_at(0)
    assert si_sdr(sounds[0, 0].numpy(), pf.denoise(sounds[0].sum(0).numpy(), RATE, model)) > 12


def test_standardise_gives_each_item_mean_0_and_deviation_1():
    x = torch.rand(2, 30, 9) * torch.tensor([1.0, 100.0])[:, None, None]
    standardised, deviation = standardise(x)
    np.testing.assert_allclose(standardised.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(standardised.std((1, 2), correction=0), 1, atol=1e-5)
    assert deviation.shape == (2, 1, 1)
