"""An offset is removed where it would leak into the band, in arrays and in streams of any blocks."""

import numpy as np
import pytest

from partae_fast.audio import Spectrogram
from partae_fast.audio.offset import centred, mirrored, offset_window, without_offset

FIELD = Spectrogram(n_fft=256, hop=64, low=80.0, high=11025.0)  # from bin 1


def noise(length, channels=1):
    return np.random.default_rng(0).normal(0, 0.01, (length, channels)).astype(np.float32)


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({"low": 80.0}, 512),
        ({"low": 0.0}, 0),  # an offset is in the band
        ({"low": 1700.0}, 0),  # it is two bins or more away
        ({"low": 1700.0, "window": "sqrt-hann"}, 512),
    ],
)
def test_an_offset_is_removed_only_where_it_leaks(settings, window):
    assert offset_window(Spectrogram(**settings)) == window
    spectrogram = Spectrogram(**settings)
    leak = spectrogram.magnitude(np.ones(22050, np.float32))[10:-10].max()
    assert (leak > 1e-3) == (window > 0 or spectrogram.first == 0)


@pytest.mark.parametrize("length", [1, 2, 500, 2047, 2048, 30_000])
@pytest.mark.parametrize("size", [1, 700, 10_000])
def test_a_stream_is_centred_like_an_array(length, size):
    audio = noise(length, 2) + np.float32([0.1, -0.3])
    size = max(size, length // 100)
    blocks = [audio[start : start + size] for start in range(0, length, size)]
    streamed = np.concatenate(list(without_offset(blocks, 1024)))
    assert streamed.dtype == np.float32
    for channel in range(2):
        np.testing.assert_allclose(streamed[:, channel], centred(audio[:, channel], 1024), rtol=0, atol=1e-7)
    if length > 2048:
        assert np.abs(streamed.mean(axis=0)).max() < 1e-5


def test_an_offset_vanishes_and_the_band_stays_with_its_phase():
    time = np.arange(22050) / 22050
    assert np.abs(centred(np.full(22050, 0.3, np.float32), 1024)).max() < 1e-6
    for frequency in (FIELD.frequencies[0], 100.0, 150.0, 1000.0):
        tone = np.sin(2 * np.pi * frequency * time).astype(np.float32)
        np.testing.assert_allclose(centred(tone, 1024)[2000:-2000], tone[2000:-2000], rtol=0, atol=6e-3)


def test_without_a_window_nothing_changes():
    audio = noise(1000)
    (block,) = without_offset([audio], 0)
    assert block is audio and centred(audio[:, 0], 0).base is audio
    assert list(without_offset([], 1024)) == [] and centred(np.zeros(0, np.float32), 1024).shape == (0,)


@pytest.mark.parametrize(("length", "count"), [(1, 5), (4, 5), (5, 5), (6, 5), (100, 5), (100, 1)])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_mirrored_at_both_ends(length, count, size):
    audio = noise(length, 2)
    blocks = [audio[start : start + size] for start in range(0, length, size)]
    expected = np.pad(audio, ((count, count), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(np.concatenate(list(mirrored(blocks, count))), expected)
