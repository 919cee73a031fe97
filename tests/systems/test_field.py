"""Tests of the default system `field`: stages, resuming and the level of noise."""

import logging

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.masking.rules import MILD_END, cautious, typical_power, with_bypass
from partae_fast.metrics import si_sdr
from partae_fast.systems.field import Settings
from partae_fast.systems.registry import DEFAULT
from partae_fast.systems.stowell2015 import Settings as PaperSettings
from partae_fast.training.session import checkpoint_paths
from tests.calls import fit, prepare

RATE = 22050


def hiss(seconds, seed=0, level=0.05):
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * RATE)).astype(np.float32)


def chirps(seconds, level=0.2):
    """Return a chirp of 80 ms from 3 to 5 kHz in each half second."""
    t = np.arange(round(seconds * RATE)) / RATE % 0.5
    return (level * np.sin(2 * np.pi * (3000 + 12500 * t) * t) * (t < 0.08)).astype(np.float32)


def train_briefly(noisy, noise, **settings):
    return fit([(noisy, RATE)], [(noise, RATE)], **{"steps": 10, "backend": "cpu", "progress": False} | settings)


def test_default_system_and_noise_statistics():
    noisy, noise = chirps(3) + hiss(3), hiss(2, 1)
    model = train_briefly(noisy, noise)
    assert DEFAULT == "field"
    assert isinstance(model, pf.ConvDenoisingAutoencoder)
    assert len(model.history.loss) == 10
    material = prepare([(noisy, RATE)], [(noise, RATE)])
    mask = cautious(Settings.mask, material.noise, MILD_END)
    assert model.mask == with_bypass(mask, material.noise)
    np.testing.assert_array_equal(model.noise_mean_square, typical_power(material.noise, material.signal))


def test_denoising_improves_si_sdr_by_6_db(tmp_path):
    song = chirps(6)
    noisy = song + hiss(6)
    model = train_briefly(noisy, hiss(4, 1), steps=300)
    pf.save(model, tmp_path / "model.safetensors")
    after = si_sdr(song, pf.denoise(noisy, RATE, pf.load(tmp_path / "model.safetensors")))
    assert after > si_sdr(song, noisy) + 6


@pytest.mark.parametrize(("launches", "started"), [(1, 1), (5, 2), (8, 3)])
def test_resume_in_any_stage_gives_the_same_bits(tmp_path, monkeypatch, launches, started):
    noisy, noise = chirps(3) + hiss(3), hiss(2, 1)
    whole = train_briefly(noisy, noise)
    path = tmp_path / "checkpoint"
    take_launch, taken = pf.Trainer._take_launch, []

    def stop_after(trainer, limit, backend):
        if len(taken) == launches:
            raise KeyboardInterrupt
        taken.append(1)
        take_launch(trainer, 1, backend)

    monkeypatch.setattr(pf.Trainer, "_take_launch", stop_after)
    with pytest.raises(KeyboardInterrupt):
        train_briefly(noisy, noise, checkpoint=path)
    exist = [p.exists() for p in checkpoint_paths(path, 3)]
    assert exist == [True] * started + [False] * (3 - started)
    monkeypatch.undo()
    resumed = train_briefly(noisy, noise, checkpoint=path, resume=True)
    assert list(resumed.history.loss) == list(whole.history.loss)
    for name, tensor in whole.state_dict().items():
        assert tensor.equal(resumed.state_dict()[name]), name


@pytest.mark.parametrize("decibels", [-12, -3, 0, 3, 12])
def test_noise_far_from_the_level_is_scaled(caplog, decibels):
    noisy, noise = chirps(4) + hiss(4), hiss(4, 1) * np.float32(10 ** (decibels / 20))
    with caplog.at_level(logging.WARNING, "partae_fast"):
        material = prepare([(noisy, RATE)], [(noise, RATE)])
    ratio = 10 * np.log10(np.mean(material.noise[0] ** 2) / np.mean(material.signal[0] ** 2))
    matched = 10 * np.log10(np.mean(hiss(4) ** 2) / np.mean(noisy**2))
    assert ratio == pytest.approx(matched + (decibels if abs(decibels) < 6 else 0), abs=1.5)
    assert ("scaled to its level" in caplog.text) == (abs(decibels) == 12)


def test_digital_silence_does_not_affect_the_level(caplog):
    quiet = np.zeros(2 * RATE, np.float32)
    noisy, noise = np.concatenate([quiet, chirps(3) + hiss(3), quiet]), np.concatenate([hiss(2, 1), quiet, quiet])
    with caplog.at_level(logging.WARNING, "partae_fast"):
        prepare([(noisy, RATE)], [(noise, RATE)])
    assert "scaled to its level" not in caplog.text


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 100, 2200])
def test_stages_sum_to_the_steps(steps):
    split = Settings().stages(steps)
    assert sum(split) == steps and min(split) >= 0 and (steps < 3 or min(split) > 0)
    assert PaperSettings().stages(steps) == [steps]
