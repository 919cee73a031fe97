"""The spectrogram: its band, its agreement with the reference, its inverse and its errors."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import Spectrogram
from partae_fast.audio import spectrogram as module
from partae_fast.errors import UserError
from partae_fast.reference import spectrogram as reference


def noise(length, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, length).astype(np.float32)


def test_the_default_band_is_fft_bins_10_to_41():
    spectrogram = Spectrogram(rate=22050, n_fft=128, hop=64, low=1700.0, high=7200.0, bins=32)
    assert (spectrogram.first, spectrogram.bins) == (10, 32)
    assert spectrogram == Spectrogram()
    assert spectrogram.frequencies[0] >= 1700
    assert spectrogram.frequencies[-1] <= 7200
    assert spectrogram.frame_rate == 22050 / 64


@pytest.mark.parametrize(
    ("settings", "first", "bins"),
    [
        ({"low": 0, "high": None}, 0, 65),
        ({"low": 0, "high": 11025}, 0, 65),
        ({"low": 11025, "high": None}, 64, 1),
        ({"high": None, "bins": 32}, 10, 32),
        ({"low": 172.265625, "high": 172.265625}, 1, 1),
        ({"rate": 44100, "n_fft": 512, "hop": 128, "low": 2000, "high": 14000}, 24, 139),
    ],
)
def test_bands(settings, first, bins):
    spectrogram = Spectrogram(**settings)
    assert (spectrogram.first, spectrogram.bins) == (first, bins)
    assert spectrogram.magnitude(noise(100)).shape[1] == bins


def test_the_square_root_window_is_used_in_both_directions():
    audio = noise(1000)
    root = Spectrogram(rate=16000, n_fft=64, hop=16, low=0, high=None, window="sqrt-hann")
    padded = np.concatenate([np.zeros(32), audio, np.zeros(96)])
    expected = np.fft.rfft(padded[160:224] * np.sqrt(reference.hann(64)))
    np.testing.assert_allclose(root.stft(audio)[10], expected, atol=1e-5)
    np.testing.assert_allclose(root.istft(root.stft(audio), 1000), audio, atol=1e-6)
    with pytest.raises(UserError, match="window is 'hamming'; it must be hann or sqrt-hann"):
        dataclasses.replace(root, window="hamming")


def test_settings_without_a_window_have_a_hann_window():
    """Older model files have no window."""
    settings = Spectrogram().to_dict()
    del settings["window"]
    assert Spectrogram.from_dict(settings) == Spectrogram()


@given(
    rate=st.integers(1, 200_000),
    half=st.integers(1, 300),
    data=st.data(),
)
def test_a_band_defined_by_bins_equals_the_band_of_its_frequencies(rate, half, data):
    first = data.draw(st.integers(0, half))
    bins = data.draw(st.integers(1, half + 1 - first))
    low = first * rate / (2 * half)
    by_bins = Spectrogram(rate=rate, n_fft=2 * half, hop=half, low=low, high=None, bins=bins)
    assert (by_bins.first, by_bins.bins) == (first, bins)
    assert Spectrogram(rate=rate, n_fft=2 * half, hop=half, low=low, high=by_bins.high) == by_bins


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 700), half=st.integers(1, 40), overlap=st.integers(1, 4), gain=st.floats(0.01, 100))
def test_agrees_with_the_reference(length, half, overlap, gain):
    n_fft, hop = 2 * half * overlap, half
    spectrogram = Spectrogram(n_fft=n_fft, hop=hop, low=0.0, high=None, gain=gain)
    audio = noise(length)
    expected = reference.stft(audio, n_fft, hop)
    stft, magnitude = spectrogram.stft(audio), spectrogram.magnitude(audio)
    assert (stft.dtype, magnitude.dtype) == (np.complex64, np.float32)
    assert stft.shape == expected.shape
    assert magnitude.flags.c_contiguous
    np.testing.assert_allclose(stft, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(magnitude, gain * np.abs(expected), rtol=1e-5, atol=1e-5 * gain)
    back = spectrogram.istft(stft, length)
    assert (back.dtype, back.shape) == (np.float32, (length,))
    np.testing.assert_allclose(back, audio, rtol=0, atol=2e-6)


def test_the_inverse_of_a_masked_spectrogram_agrees_with_the_reference():
    spectrogram = Spectrogram(n_fft=32, hop=8, low=0.0, high=None)
    masked = spectrogram.stft(noise(1000)) * np.random.default_rng(1).uniform(size=(126, 17))
    np.testing.assert_allclose(spectrogram.istft(masked, 1000), reference.istft(masked, 32, 8, 1000), rtol=0, atol=1e-6)


def test_the_size_of_blocks_does_not_change_the_result(monkeypatch):
    spectrogram, audio = Spectrogram(n_fft=128, hop=32, low=0.0, high=None), noise(5000)
    stft, magnitude = spectrogram.stft(audio), spectrogram.magnitude(audio)
    monkeypatch.setattr(module, "SAMPLES_PER_BLOCK", 3 * 128)
    np.testing.assert_array_equal(spectrogram.stft(audio), stft)
    np.testing.assert_array_equal(spectrogram.magnitude(audio), magnitude)
    np.testing.assert_allclose(spectrogram.istft(stft, 5000), audio, rtol=0, atol=2e-6)


def test_strided_and_double_audio_give_the_same_magnitudes():
    audio = noise(4000).reshape(2000, 2)
    expected = Spectrogram().magnitude(np.ascontiguousarray(audio[:, 1]))
    np.testing.assert_array_equal(Spectrogram().magnitude(audio[:, 1]), expected)
    np.testing.assert_array_equal(Spectrogram().magnitude(audio[:, 1].astype(np.float64)), expected)


def test_silence_is_zero_and_nan_stays_nan():
    assert not Spectrogram().magnitude(np.zeros(1000, np.float32)).any()
    audio = noise(1000)
    audio[500] = np.nan
    bad = np.isnan(Spectrogram().magnitude(audio)).all(axis=1)
    assert np.flatnonzero(bad).tolist() == [7, 8]


def test_settings_survive_json():
    spectrogram = Spectrogram(rate=44100, n_fft=512, hop=128, low=2000.0, high=14000.0, gain=0.1)
    assert Spectrogram.from_dict(json.loads(json.dumps(spectrogram.to_dict()))) == spectrogram


@pytest.mark.parametrize("change", [{"pitch": 1}, {"hop": ...}])
def test_settings_of_another_version_are_refused(change):
    settings = {k: v for k, v in {**Spectrogram().to_dict(), **change}.items() if v is not ...}
    with pytest.raises(UserError, match=f"{next(iter(change))}; the file was written by another version"):
        Spectrogram.from_dict(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0}, "rate is 0"),
        ({"rate": -22050}, "rate is -22050"),
        ({"rate": 22050.5}, "rate is 22050.5"),
        ({"rate": "22050"}, "rate is '22050'"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"n_fft": True}, "n_fft is True"),
        ({"n_fft": 127}, "must be even"),
        ({"hop": 0}, "hop is 0"),
        ({"hop": 50}, "divide n_fft = 128"),
        ({"hop": 128}, "at most half of it, for example 64"),
        ({"low": -1.0}, "low is -1.0"),
        ({"low": float("inf")}, "low is inf"),
        ({"low": 12000.0, "high": None}, "low is 12000.0"),
        ({"high": 11026.0}, "high is 11026.0"),
        ({"high": 1000.0}, "between low = 1700"),
        ({"high": 1720.0}, "no bin lies"),
        ({"high": None, "bins": 56}, "choose a lower band"),
        ({"bins": 31}, "set bins=32"),
        ({"bins": 0}, "bins is 0"),
        ({"bins": 32.5}, "bins is 32.5"),
        ({"gain": 0.0}, "gain is 0.0"),
        ({"gain": float("nan")}, "gain is nan"),
    ],
)
def test_invalid_settings_are_refused_in_one_line(settings, message):
    with pytest.raises(UserError) as error:
        Spectrogram(**settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("audio", [np.zeros((10, 2), np.float32), np.zeros(10, np.int16), np.float32(0)])
def test_integers_and_other_shapes_are_refused(audio):
    with pytest.raises(UserError, match=r"it must (be floating-point|have shape \(samples,\))"):
        Spectrogram().magnitude(audio)


def test_spectra_that_do_not_match_the_length_are_refused():
    spectrogram = Spectrogram()
    with pytest.raises(UserError, match="check the length"):
        spectrogram.istft(spectrogram.stft(noise(1000)), 2000)


def test_a_spectrogram_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Spectrogram().hop = 32
