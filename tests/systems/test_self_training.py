"""Tests of the mixtures for self-training."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.sampling.crops import CropSampler
from partae_fast.systems.field import Settings
from partae_fast.systems.self_training import self_training_sampler
from tests.calls import prepare

RATE = 22050
MASK = Settings.mask


def hiss(seconds, seed=0, level=0.05):
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * RATE)).astype(np.float32)


def chirps(seconds, level=0.2):
    """Return a chirp of 80 ms from 3 to 5 kHz in each half second."""
    t = np.arange(round(seconds * RATE)) / RATE % 0.5
    return (level * np.sin(2 * np.pi * (3000 + 12500 * t) * t) * (t < 0.08)).astype(np.float32)


def steady_noise(frames=4000, bins=6, seed=0):
    """Return magnitudes of white noise in overlapping windows.

    They are correlated over about three frames.
    """
    power = np.random.default_rng(seed).exponential(1.0, (frames + 2, bins))
    return np.sqrt(power[:-2] / 4 + power[1:-1] / 2 + power[2:] / 4).astype(np.float32)


def test_targets_are_signal_and_silence():
    material = prepare([(chirps(3) + hiss(3), RATE)], [(hiss(2, 1), RATE)])
    model = pf.ConvPartitionedAutoencoder(bins=material.spectrogram.bins, latents=8, taps=3, pool=4)
    sampler = self_training_sampler(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3)
    again = self_training_sampler(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3)
    x, noise_only = sampler.batch_at(5)
    target = sampler.target_at(5)
    assert x.equal(again.batch_at(5)[0])
    assert target[noise_only > 0].abs().max() == 0
    assert x[noise_only > 0].abs().max() > 0
    assert target[noise_only == 0].abs().max() > 0
    added = (x - target)[noise_only == 0]
    assert added.min() < 0 < added.max()  # random phases: noise reduces the magnitude here and raises it there


def test_noise_adds_in_power():
    rng = np.random.default_rng(0)
    silent = [rng.uniform(0.0, 1e-6, (400, 6)).astype(np.float32)]
    noise = [rng.uniform(0.5, 1.5, (500, 6)).astype(np.float32)]
    model = pf.ConvPartitionedAutoencoder(bins=6, latents=4, taps=3, pool=4)
    sampler: CropSampler = self_training_sampler(model, MASK, silent, noise, 32, 16, 0.0, 0)
    power = float(np.mean([(sampler.batch_at(i)[0] ** 2).mean() for i in range(40)]))
    # Half of the noise crops are residuals of the silent signal, which are 0.
    assert power == pytest.approx(0.5 * float(np.mean(noise[0] ** 2)), rel=0.35)


def test_bypass_keeps_loud_signal_in_the_targets():
    steady, loud = steady_noise(bins=8), steady_noise(bins=8, seed=1)
    loud[:, 3:6] += 20 * (np.arange(len(loud)) % 40 < 8)[:, None]
    untrained = pf.ConvDenoisingAutoencoder(bins=8, latents=4, taps=3, pool=4)
    untrained.w_dec.data.zero_()
    sampler = self_training_sampler(untrained, MASK, [loud], [steady], 64, 8, 0.0, 0)
    target = sampler.target_at(0)
    loud_frames = target[..., 4] > 1
    assert 0.1 < loud_frames.float().mean() < 0.3
    assert target[loud_frames][:, 4].mean() > 15
    assert target[..., 0].mean() < 0.05 * steady.mean()


def test_rounds_differ():
    material = prepare([(chirps(3) + hiss(3), RATE)], [(hiss(2, 1), RATE)])
    model = pf.ConvDenoisingAutoencoder(bins=material.spectrogram.bins, latents=8, taps=3, pool=4)
    first, second = (
        self_training_sampler(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3, number) for number in (1, 2)
    )
    assert not first.batch_at(0)[0].equal(second.batch_at(0)[0])
