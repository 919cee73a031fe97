"""Resampling: a stream gives what the whole gives, and a tone stays where and when it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio.resample import resample, resample_blocks

RATES = st.sampled_from([8000, 16000, 20000, 22050, 32000, 44100, 48000])


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 5000), size=st.integers(1, 2000), channels=st.integers(1, 3), rate=RATES, wanted=RATES)
def test_a_stream_gives_what_the_whole_gives(length, size, channels, rate, wanted):
    audio = np.random.default_rng(0).uniform(-1, 1, (length, channels)).astype(np.float32)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    streamed = [np.zeros((0, channels), np.float32), *resample_blocks(blocks, rate, wanted, channels)]
    np.testing.assert_array_equal(np.concatenate(streamed), resample(audio, rate, wanted))


@pytest.mark.parametrize(("rate", "wanted"), [(44100, 22050), (22050, 44100), (16000, 22050), (48000, 22050)])
def test_a_tone_keeps_its_level_and_its_phase_in_each_channel(rate, wanted):
    def tone(rate):
        time = np.arange(rate) / rate
        return np.stack([np.sin(2 * np.pi * 440 * time), 0.5 * np.cos(2 * np.pi * 1000 * time)], axis=1)

    found = resample(tone(rate), rate, wanted)
    assert found.dtype == np.float32
    middle = slice(wanted // 10, -wanted // 10)
    np.testing.assert_allclose(found[middle], tone(wanted)[: len(found)][middle], atol=1e-4)


def test_the_same_rate_changes_nothing():
    audio = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(resample(audio, 8000, 8000), audio)
