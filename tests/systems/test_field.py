"""Preset `field`: three models, each later one from remixes of what the one before took apart; the level of noise."""

import logging

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.masking.rules import BYPASS, MILD_END, cautious, quantile_of_power, typical_power, with_bypass
from partae_fast.metrics import si_sdr
from partae_fast.sampling.crops import CropSampler
from partae_fast.systems.field import Settings
from partae_fast.systems.registry import DEFAULT
from partae_fast.systems.self_training import remixes
from partae_fast.systems.stowell2015 import Settings as PaperSettings
from partae_fast.training.session import checkpoint_paths
from tests.calls import fit, prepare

RATE = 22050
MASK = Settings.mask


def hiss(seconds, seed=0, level=0.05):
    return np.random.default_rng(seed).normal(0.0, level, round(seconds * RATE)).astype(np.float32)


def chirps(seconds, level=0.2):
    """In each half second a chirp of 80 ms from 3 to 5 kHz."""
    t = np.arange(round(seconds * RATE)) / RATE % 0.5
    return (level * np.sin(2 * np.pi * (3000 + 12500 * t) * t) * (t < 0.08)).astype(np.float32)


def brief(noisy, noise, **settings):
    return fit([(noisy, RATE)], [(noise, RATE)], **{"steps": 10, "backend": "cpu", "progress": False} | settings)


def test_it_is_the_default_and_its_noise_statistics_are_of_noise_alone():
    noisy, noise = chirps(3) + hiss(3), hiss(2, 1)
    model = brief(noisy, noise)
    assert DEFAULT == "field"
    assert isinstance(model, pf.ConvDenoisingAutoencoder)
    assert len(model.history.loss) == 10
    material = prepare([(noisy, RATE)], [(noise, RATE)])
    wanted = cautious(MASK, material.noise, MILD_END)
    assert model.mask == with_bypass(wanted, material.noise)
    np.testing.assert_array_equal(model.noise_mean_square, typical_power(material.noise, material.signal))


def test_it_denoises(tmp_path):
    song = chirps(6)
    noisy = song + hiss(6)
    model = brief(noisy, hiss(4, 1), steps=300)
    pf.save(model, tmp_path / "model.safetensors")
    after = si_sdr(song, pf.denoise(noisy, RATE, pf.load(tmp_path / "model.safetensors")))
    assert after > si_sdr(song, noisy) + 6


@pytest.mark.parametrize(("before", "begun"), [(1, 1), (5, 2), (8, 3)])
def test_a_run_that_stopped_in_any_stage_goes_on_to_the_same_bits(tmp_path, monkeypatch, before, begun):
    noisy, noise = chirps(3) + hiss(3), hiss(2, 1)
    whole = brief(noisy, noise)
    path = tmp_path / "checkpoint"
    launch, taken = pf.Trainer._take_launch, []

    def until(trainer, limit, backend):
        if len(taken) == before:
            raise KeyboardInterrupt
        taken.append(1)
        launch(trainer, 1, backend)

    monkeypatch.setattr(pf.Trainer, "_take_launch", until)
    with pytest.raises(KeyboardInterrupt):
        brief(noisy, noise, checkpoint=path)
    there = [p.exists() for p in checkpoint_paths(path, 3)]
    assert there == [True] * begun + [False] * (3 - begun)
    monkeypatch.undo()
    resumed = brief(noisy, noise, checkpoint=path, resume=True)
    assert list(resumed.history.loss) == list(whole.history.loss)
    for name, tensor in whole.state_dict().items():
        assert tensor.equal(resumed.state_dict()[name]), name


@pytest.mark.parametrize("decibels", [-12, -3, 0, 3, 12])
def test_noise_far_from_the_level_is_brought_to_it(caplog, decibels):
    noisy, noise = chirps(4) + hiss(4), hiss(4, 1) * np.float32(10 ** (decibels / 20))
    with caplog.at_level(logging.WARNING, "partae_fast"):
        material = prepare([(noisy, RATE)], [(noise, RATE)])
    found = 10 * np.log10(np.mean(material.noise[0] ** 2) / np.mean(material.signal[0] ** 2))
    matched = 10 * np.log10(np.mean(hiss(4) ** 2) / np.mean(noisy**2))
    assert found == pytest.approx(matched + (decibels if abs(decibels) < 6 else 0), abs=1.5)
    assert ("scaled to its level" in caplog.text) == (abs(decibels) == 12)


def test_digital_silence_says_nothing_of_the_level(caplog):
    quiet = np.zeros(2 * RATE, np.float32)
    noisy, noise = np.concatenate([quiet, chirps(3) + hiss(3), quiet]), np.concatenate([hiss(2, 1), quiet, quiet])
    with caplog.at_level(logging.WARNING, "partae_fast"):
        prepare([(noisy, RATE)], [(noise, RATE)])
    assert "scaled to its level" not in caplog.text


def test_remixes_have_the_signal_as_target_and_silence_for_noise():
    material = prepare([(chirps(3) + hiss(3), RATE)], [(hiss(2, 1), RATE)])
    model = pf.ConvPartitionedAutoencoder(bins=material.spectrogram.bins, latents=8, taps=3, pool=4)
    sampler = remixes(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3)
    again = remixes(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3)
    x, noise_only = sampler.batch_at(5)
    target = sampler.target_at(5)
    assert x.equal(again.batch_at(5)[0])
    assert target[noise_only > 0].abs().max() == 0
    assert x[noise_only > 0].abs().max() > 0
    assert target[noise_only == 0].abs().max() > 0
    added = (x - target)[noise_only == 0]
    assert added.min() < 0 < added.max()  # phases differ: noise takes away here and adds there


def test_remixes_add_the_power_of_noise():
    rng = np.random.default_rng(0)
    silent = [rng.uniform(0.0, 1e-6, (400, 6)).astype(np.float32)]
    noise = [rng.uniform(0.5, 1.5, (500, 6)).astype(np.float32)]
    model = pf.ConvPartitionedAutoencoder(bins=6, latents=4, taps=3, pool=4)
    sampler: CropSampler = remixes(model, MASK, silent, noise, 32, 16, 0.0, 0)
    power = float(np.mean([(sampler.batch_at(i)[0] ** 2).mean() for i in range(40)]))
    # Half of the noise is what the model took away of the silence: nothing.
    assert power == pytest.approx(0.5 * float(np.mean(noise[0] ** 2)), rel=0.35)


def steady_noise(frames=4000, bins=6, seed=0):
    """Magnitudes of white noise in windows that overlap: powers that are alike over some three frames."""
    power = np.random.default_rng(seed).exponential(1.0, (frames + 2, bins))
    return np.sqrt(power[:-2] / 4 + power[1:-1] / 2 + power[2:] / 4).astype(np.float32)


def test_typical_power_follows_steady_noise_and_neither_a_thud_nor_silence():
    steady = steady_noise()
    mean_square = (steady**2).mean(axis=0)
    usual = typical_power([steady], [steady])
    assert ((usual > 0.4 * mean_square) & (usual < mean_square)).all()
    thud = steady.copy()
    thud[1000:1040] *= 30
    assert (thud**2).mean() > 8 * (steady**2).mean()
    np.testing.assert_allclose(typical_power([thud], [steady]), usual, rtol=0.25)
    silence = np.zeros_like(steady)
    np.testing.assert_allclose(typical_power([np.concatenate([silence, steady]), silence], [steady]), usual, rtol=0.02)


def test_noise_that_the_other_recordings_do_not_have_is_no_typical_noise():
    steady = steady_noise()
    hum = steady * np.float32([1, 1, 10, 1, 1, 1])
    found = typical_power([hum], [steady_noise(seed=1)]) / typical_power([steady], [steady])
    assert 2 < found[2] < 8  # of the 100 that it has
    np.testing.assert_allclose(found[[0, 5]], 1, atol=0.1)


def test_the_bypass_is_higher_the_less_steady_noise_is():
    mask, steady = pf.denoising.Mask(bypass=0.0), steady_noise()
    assert with_bypass(mask, [steady]).bypass == BYPASS
    unsteady = steady * np.repeat(np.float32([1, 1, 3, 1]), 1000)[:, None]
    louder = with_bypass(mask, [unsteady]).bypass
    assert 10 * BYPASS < louder < np.inf
    assert with_bypass(mask, [7 * unsteady]).bypass == pytest.approx(louder)


def test_what_steady_noise_cannot_be_is_signal_to_the_next_model_too():
    steady, loud = steady_noise(bins=8), steady_noise(bins=8, seed=1)
    loud[:, 3:6] += 20 * (np.arange(len(loud)) % 40 < 8)[:, None]
    knows_nothing = pf.ConvDenoisingAutoencoder(bins=8, latents=4, taps=3, pool=4)
    knows_nothing.w_dec.data.zero_()
    sampler = remixes(knows_nothing, MASK, [loud], [steady], 64, 8, 0.0, 0)
    target = sampler.target_at(0)
    sounding = target[..., 4] > 1
    assert 0.1 < sounding.float().mean() < 0.3
    assert target[sounding][:, 4].mean() > 15
    assert target[..., 0].mean() < 0.05 * steady.mean()


def test_a_mask_is_milder_where_little_noise_is_known():
    short, middle, long = (cautious(MASK, [steady_noise(n), steady_noise(n)]) for n in (200, 500, 900))
    assert long == MASK
    assert (short.noise, short.gate) == (0.1, 1.0)
    assert short.noise < middle.noise < long.noise and short.gate < middle.gate < long.gate


def test_power_of_a_long_recording_is_taken_from_all_over_it():
    rising = np.repeat(np.arange(1.0, 101.0, dtype=np.float32)[:, None], 512, axis=0) ** 0.5
    np.testing.assert_allclose(quantile_of_power([rising], 0.5, 1 << 13), 50.5, rtol=0.05)
    whole = quantile_of_power([rising[:1000]], 0.5, 1 << 13)
    np.testing.assert_allclose(whole, np.median(rising[:1000] ** 2), rtol=0.05)


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 5, 100, 2200])
def test_every_step_is_some_models(steps):
    split = Settings().stages(steps)
    assert sum(split) == steps and min(split) >= 0 and (steps < 3 or min(split) > 0)
    assert PaperSettings().stages(steps) == [steps]


def test_each_round_of_remixes_is_another():
    material = prepare([(chirps(3) + hiss(3), RATE)], [(hiss(2, 1), RATE)])
    model = pf.ConvDenoisingAutoencoder(bins=material.spectrogram.bins, latents=8, taps=3, pool=4)
    first, second = (remixes(model, MASK, material.signal, material.noise, 64, 8, 0.5, 3, number) for number in (1, 2))
    assert not first.batch_at(0)[0].equal(second.batch_at(0)[0])
