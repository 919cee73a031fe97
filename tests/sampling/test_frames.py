"""Samplers of frames: their signals, the level of their noise, and their determinism."""

import numpy as np
import pytest
import torch

from partae_fast.audio.frame_input import FrameInput
from partae_fast.errors import UserError
from partae_fast.sampling.frames import CHORD, ChordSampler, RecordedFrames

TIME = FrameInput("time", 64)
WINDOW = torch.hann_window(64)


def decibels(signal, noise):
    return 10 * float(torch.log10(signal.square().mean() / noise.square().mean()))


def recordings(count=3, length=500, seed=0):
    return list(0.1 * np.random.default_rng(seed).standard_normal((count, length)).astype(np.float32))


def parts(sampler, step=0):
    """Return the clean frames and the noise of a batch, (B, 63) each, divided by the window where it is not 0."""
    x, target, _ = sampler.batch_at(step)
    return target[:, 1:] / WINDOW[1:], (x - target)[:, 1:] / WINDOW[1:]


def samplers(**settings):
    return [
        ChordSampler(TIME, **settings),
        RecordedFrames(recordings(), None, TIME, **({"snr": 0.0} | settings)),
        RecordedFrames(recordings(), recordings(seed=1), TIME, **({"snr": 0.0} | settings)),
    ]


@pytest.mark.parametrize("i", range(3))
def test_noise_has_the_power_of_the_ratio(i):
    for snr in (-6.0, 3.0):
        clean, noise = parts(samplers(snr=snr, batch=256)[i])
        assert decibels(clean, noise) == pytest.approx(snr, abs=0.3)


@pytest.mark.parametrize("i", range(3))
def test_the_variance_is_used_as_standard_deviation_on_request(i):
    """As in the thesis's program, the RMS of the noise is the power of the signal divided by the ratio."""
    clean, noise = parts(samplers(snr=3.0, batch=256, variance_as_deviation=True)[i])
    expected = clean.square().mean() / 10**0.3
    assert float(noise.square().mean().sqrt()) == pytest.approx(float(expected), rel=0.05)


@pytest.mark.parametrize("i", range(3))
def test_noise_only_items_count_for_the_power_by_default(i):
    clean, noise = parts(samplers(snr=0.0, batch=256, noise_only=0.5)[i])
    assert not clean[:128].any() and clean[128:].any(dim=1).all()
    assert decibels(clean, noise) == pytest.approx(0.0, abs=0.3)
    clean, noise = parts(samplers(snr=0.0, batch=256, noise_only=0.5, power_of_signal_items=True)[i])
    assert decibels(clean[128:], noise) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("i", range(3))
def test_a_batch_depends_on_the_step_and_the_seed_alone(i):
    first, second = samplers(batch=5, noise_only=0.4)[i], samplers(batch=5, noise_only=0.4)[i]
    batches = [first.batch_at(step) for step in range(3)]
    for step in (2, 0, 1):
        assert all(torch.equal(a, b) for a, b in zip(second.batch_at(step), batches[step], strict=True))
    items = second.batch_at(1, range(1, 3))
    assert all(torch.equal(a, b[1:3]) for a, b in zip(items, batches[1], strict=True))
    assert not torch.equal(batches[0][0], batches[1][0]) and batches[0][2].tolist() == [1, 1, 0, 0, 0]
    other_seed = samplers(batch=5, noise_only=0.4, seed=1)[i]
    assert not torch.equal(other_seed.batch_at(0)[0], batches[0][0])
    assert first.fingerprint() == second.fingerprint() != other_seed.fingerprint()


def test_a_chord_has_its_four_sines_and_nothing_else():
    sampler = ChordSampler(FrameInput("time", 1600), batch=64)  # 0.1 s, so bins are 10 Hz apart
    clean = sampler._signal(0).double().numpy()
    spectrum = np.fft.rfft(clean * np.hanning(1600)) / 400
    present = np.abs(spectrum).mean(axis=0) > 0.05
    assert all(present[round(f / 10)] for f in CHORD) and present[: round(420 / 10)].sum() == 0
    assert present[round(920 / 10) :].sum() == 0
    time = np.arange(1600) / 16000
    waves = np.array([wave(2 * np.pi * f * time) for f in CHORD for wave in (np.sin, np.cos)]).T
    weights = np.linalg.lstsq(waves, clean.T, rcond=None)[0].reshape(4, 2, 64)
    np.testing.assert_allclose(waves @ weights.reshape(8, 64), clean.T, atol=1e-4)
    amplitude, phase = np.hypot(*weights.swapaxes(0, 1)), np.arctan2(weights[:, 1], weights[:, 0])
    assert amplitude.min() > 0.249 and amplitude.max() < 0.751 and amplitude.std() == pytest.approx(0.144, abs=0.02)
    assert np.abs(np.exp(1j * phase).mean()) < 0.2


def test_an_example_has_the_ratio_and_depends_on_its_number():
    sampler = ChordSampler(TIME, snr=3.0)
    clean, noisy = sampler.example(0, 16000)
    assert decibels(clean, noisy - clean) == pytest.approx(3.0, abs=0.2)
    repeated = sampler.example(0, 16000)
    assert torch.equal(noisy, repeated[1]) and not torch.equal(noisy, sampler.example(1, 16000)[1])
    clean, noisy = ChordSampler(TIME, snr=3.0, variance_as_deviation=True).example(0, 16000)
    assert float((noisy - clean).std()) == pytest.approx(float(clean.square().mean()) / 10**0.3, rel=0.05)


def test_noisy_recordings_are_used_unchanged():
    signal, noise = [np.arange(100.0), np.arange(200.0, 264.0)], [np.arange(-300.0, -200.0)]
    sampler = RecordedFrames(signal, noise, TIME, batch=400, noise_only=0.25)
    x, target, noise_only = sampler.batch_at(7)
    samples = (x[:, 1:] / WINDOW[1:]).round()
    assert torch.equal(x, target)
    assert (samples[:100] < 0).all() and (samples[100:] >= 0).all() and int(noise_only.sum()) == 100
    starts = {int(frame[0]) - 1 for frame in samples[100:]}
    assert starts == {*range(37), 200}  # every frame within a recording, and none across two
    assert (samples.diff(dim=1) == 1).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ChordSampler(TIME, snr=float("nan")), "snr is nan; it must be a finite number of dB"),
        (lambda: ChordSampler(TIME, batch=0), "batch is 0"),
        (lambda: ChordSampler(TIME, noise_only=1.0), r"noise_only is 1\.0"),
        (lambda: ChordSampler(TIME, seed=-1), "seed is -1; it must be from 0"),
        (lambda: ChordSampler(TIME, frequencies=(9000,)), "frequencies are"),
        (lambda: ChordSampler(TIME, amplitudes=(2, 1)), "amplitudes are"),
        (lambda: ChordSampler(TIME).batch_at(2**32), "step 4294967296 is out of range"),
        (lambda: RecordedFrames([np.ones(63)], None, TIME, 0.0), "signal: the longest recording has 63 samples"),
        (lambda: RecordedFrames([], None, TIME, 0.0), "signal: the longest recording has 0 samples"),
        (lambda: RecordedFrames([np.zeros(99)], None, TIME, 0.0), "signal: every recording is silent"),
        (lambda: RecordedFrames([np.full(99, np.nan)], None, TIME, 0.0), "signal: a recording has NaN"),
        (lambda: RecordedFrames([np.ones(99)], [np.zeros(99)], TIME, 0.0), "noise: every recording is silent"),
        (lambda: RecordedFrames([np.ones(99)], None, TIME, noise_only=0.5), "there is no noise for the noise-only"),
    ],
)
def test_invalid_settings_and_recordings_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
