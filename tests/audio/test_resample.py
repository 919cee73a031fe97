"""Resampling of arrays and streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import resample as module
from partae_fast.audio.resample import resample, resample_blocks

RATES = st.sampled_from([8000, 16000, 20000, 22050, 32000, 44100, 48000, 11025, 22051, 44101, 96001, 192_000, 384_000])


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 5000), size=st.integers(1, 2000), channels=st.integers(1, 3), rate=RATES, new_rate=RATES)
def test_a_stream_equals_the_resampled_recording(length, size, channels, rate, new_rate):
    audio = np.random.default_rng(0).uniform(-1, 1, (length, channels)).astype(np.float32)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    empty = np.zeros((0, channels), np.float32)
    streamed = np.concatenate([empty, *resample_blocks(blocks, rate, new_rate, channels)])
    np.testing.assert_array_equal(streamed, resample(audio, rate, new_rate))
    assert abs(len(streamed) - length * new_rate / rate) <= 1


def test_resampled_blocks_stay_short_for_a_large_ratio():
    audio = np.random.default_rng(0).uniform(-1, 1, (2**14, 2)).astype(np.float32)
    blocks = list(resample_blocks([audio], 100, 22050, 2))
    assert max(block.size for block in blocks) < 2.5 * module.LONGEST  # all samples are 7 * LONGEST
    np.testing.assert_array_equal(np.concatenate(blocks), resample(audio, 100, 22050))


@pytest.mark.parametrize("rate", [11_025, 44_101, 96_001, 384_000])
def test_a_round_trip_shifts_a_tone_by_less_than_a_hundredth_of_a_sample(rate):
    time = np.arange(rate // 4) / rate
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    back = resample(resample(tone, rate, 22050), 22050, rate)
    assert abs(len(back) - len(tone)) <= rate / 22050  # one sample at 22,050 Hz
    middle = slice(len(tone) // 4, len(tone) * 3 // 4)
    # A shift by a hundredth of a sample at 22,050 Hz changes a tone of 1 kHz by up to 0.003.
    np.testing.assert_allclose(back[middle], tone[middle], atol=1e-3)


@pytest.mark.parametrize(("rate", "new_rate"), [(44100, 22050), (22050, 44100), (16000, 22050), (48000, 22050)])
def test_a_tone_keeps_its_level_and_phase_in_each_channel(rate, new_rate):
    def tone(rate):
        time = np.arange(rate) / rate
        return np.stack([np.sin(2 * np.pi * 440 * time), 0.5 * np.cos(2 * np.pi * 1000 * time)], axis=1)

    resampled = resample(tone(rate), rate, new_rate)
    assert resampled.dtype == np.float32
    middle = slice(new_rate // 10, -new_rate // 10)
    np.testing.assert_allclose(resampled[middle], tone(new_rate)[: len(resampled)][middle], atol=1e-4)


def test_equal_rates_change_nothing():
    audio = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(resample(audio, 8000, 8000), audio)
