"""The ends of a recording: continued by a mirror image, without clicks."""

import numpy as np
import pytest
import torch
from torch.nn.functional import avg_pool1d

import partae_fast as pf
from partae_fast.denoising import denoise, separate
from partae_fast.denoising.edges import Edges
from partae_fast.models.separation import Separation

from .models import Fixed

SPECTROGRAM = pf.Spectrogram()  # 1700 to 7200 Hz at 22050 Hz
SECONDS = 1.0


def with_offset(rate, low):
    """Return 1 s of weak noise on an offset, rumble of 20 Hz, or hum of 50 Hz, none of which is 0 at an end."""
    time = np.arange(int(SECONDS * rate)) / rate
    noise = np.random.default_rng(0).normal(0, 1e-3, len(time))
    return (
        noise
        + {"offset": 0.1, "rumble": 0.1 * np.cos(40 * np.pi * time + 1), "hum": 0.1 * np.cos(100 * np.pi * time + 1)}[
            low
        ]
    ).astype(np.float32)


def loudness_at_the_ends(audio, rate):
    """Return the energy of the first and of the last 5 ms relative to the median of all 5 ms, in dB."""
    frame = rate // 200
    energy = np.square(audio[: len(audio) // frame * frame].reshape(-1, frame)).mean(axis=1)
    last = np.square(audio[-frame:]).mean()
    return 10 * np.log10(np.array([energy[0], last]) / np.median(energy))


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
@pytest.mark.parametrize("low", ["offset", "rumble", "hum"])
def test_energy_below_the_band_is_no_click_at_the_ends(rate, low):
    audio = with_offset(rate, low)
    signal = denoise(audio, rate, Fixed(SPECTROGRAM, signal=1.0, noise=0.0))
    assert loudness_at_the_ends(signal, rate).max() < 4
    assert np.abs(signal).max() < 5e-3
    noise = denoise(audio, rate, Fixed(SPECTROGRAM, signal=1.0, noise=0.0), "noise")
    np.testing.assert_allclose(signal + noise, audio, rtol=0, atol=1e-7)


class FullBand:
    """Separator whose sources are the frequencies above 1 kHz, and those below."""

    spectrogram = pf.Spectrogram(rate=8000, n_fft=64, hop=16, low=0.0, high=None)

    def separation(self, step=None, count=None):
        high = (torch.arange(33) * 125 > 1000).float()
        return Separation(("high", "low"), lambda x: torch.stack([high, 1 - high])[:, None].expand(2, len(x), 33))


@pytest.mark.parametrize("rate", [8000, 11025])
@pytest.mark.parametrize("low", ["offset", "rumble", "hum"])
def test_separated_sources_have_no_clicks_at_the_ends(rate, low):
    high = separate(with_offset(rate, low), rate, FullBand())["high"]
    assert loudness_at_the_ends(high, rate).max() < 4
    assert np.abs(high).max() < 5e-3


@pytest.mark.parametrize("length", [0, 1, 2, 50, 4000, 9000])
@pytest.mark.parametrize("size", [1, 700, 10_000])
@pytest.mark.parametrize("rate", [22050, 44100])
def test_a_stream_is_extended_by_its_mirror_image_and_cut_again(length, size, rate):
    if size == 1 and length > 50:
        size = 333
    audio = np.random.default_rng(1).normal(size=(length, 2)).astype(np.float32)
    edges = Edges(SPECTROGRAM, rate, pool=16)
    blocks = [audio[start : start + size] for start in range(0, length, size)]
    extended = np.concatenate([np.zeros((0, 2), np.float32), *edges.extend(blocks)])
    margin = edges.samples
    assert len(extended) == (length + 2 * margin if length else 0)
    if length:
        mirrored = np.pad(audio, ((margin, margin), (0, 0)), mode="reflect")
        inner = slice(margin // 2, len(mirrored) - margin // 2)
        np.testing.assert_array_equal(extended[inner], mirrored[inner])
        assert np.abs(extended[[0, -1]]).max() < 1e-4 * np.abs(audio).max()
    pieces = np.split(extended, [1, 100, margin + 3, margin + 4])
    np.testing.assert_array_equal(np.concatenate(list(edges.cut(pieces))), audio)


def test_frames_stay_where_they_are_at_the_rate_of_the_model():
    assert Edges(SPECTROGRAM, 22050, pool=16).samples % (16 * SPECTROGRAM.hop) == 0
    long = pf.Spectrogram(n_fft=4096, hop=1024)
    assert Edges(long, 22050).samples >= 2 * long.n_fft
    assert Edges(SPECTROGRAM, 22050, reach=1024).samples >= 2048


class Smoothed(Fixed):
    """Model whose gain is 1 where the mean of 9 frames is as loud as a steady tone, and 0 elsewhere."""

    def separate(self, x):
        signal = (avg_pool1d(x.sum(dim=2)[:, None], 9, 1, padding=4)[:, 0, :, None] > 3).expand(x.shape).float()
        return signal, 1 - signal


def test_the_model_sees_no_silence_beyond_the_ends():
    tone = (0.1 * np.cos(2 * np.pi * 4000 * np.arange(22050) / 22050)).astype(np.float32)
    assert SPECTROGRAM.magnitude(tone).sum(axis=1)[100:200].min() > 3.1
    denoised = denoise(tone, 22050, Smoothed(SPECTROGRAM))
    assert np.abs(loudness_at_the_ends(denoised, 22050)).max() < 0.5
    np.testing.assert_allclose(denoised[:-30], tone[:-30], rtol=0, atol=2e-3)


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_an_offset_does_not_leak_into_a_band_that_starts_at_bin_1(rate):
    spectrogram = pf.Spectrogram(n_fft=256, hop=64, low=80.0, high=None)
    audio = with_offset(rate, "offset")
    for reduction, floor in ((None, 0.0), (20, 0.1)):
        signal = denoise(audio, rate, Fixed(spectrogram), reduction=reduction)
        np.testing.assert_allclose(signal.mean(), floor * 0.1, rtol=0, atol=2e-4)
        assert loudness_at_the_ends(signal, rate).max() < 4
    noise = denoise(audio, rate, Fixed(spectrogram), "noise", reduction=20)
    np.testing.assert_allclose(signal + noise, audio, rtol=0, atol=1e-7)
