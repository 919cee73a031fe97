"""Resampling: a stream gives what the whole gives, and a tone stays where and when it was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from partae_fast.audio import resample as module
from partae_fast.audio.resample import resample, resample_blocks

RATES = st.sampled_from([8000, 16000, 20000, 22050, 32000, 44100, 48000, 11025, 22051, 44101, 96001, 192_000, 384_000])


@settings(max_examples=60, deadline=None)
@given(length=st.integers(0, 5000), size=st.integers(1, 2000), channels=st.integers(1, 3), rate=RATES, wanted=RATES)
def test_a_stream_gives_what_the_whole_gives(length, size, channels, rate, wanted):
    audio = np.random.default_rng(0).uniform(-1, 1, (length, channels)).astype(np.float32)
    blocks = (audio[start : start + size] for start in range(0, length, size))
    streamed = [np.zeros((0, channels), np.float32), *resample_blocks(blocks, rate, wanted, channels)]
    found = np.concatenate(streamed)
    np.testing.assert_array_equal(found, resample(audio, rate, wanted))
    assert abs(len(found) - length * wanted / rate) <= 1


def test_what_comes_out_of_a_block_stays_short_where_the_rate_rises_by_much():
    audio = np.random.default_rng(0).uniform(-1, 1, (2**14, 2)).astype(np.float32)
    blocks = list(resample_blocks([audio], 100, 22050, 2))
    assert max(block.size for block in blocks) < 2.5 * module.LONGEST  # of 7 times that in all
    np.testing.assert_array_equal(np.concatenate(blocks), resample(audio, 100, 22050))


@pytest.mark.parametrize("rate", [11_025, 44_101, 96_001, 384_000])
def test_there_and_back_is_in_time_to_a_small_part_of_a_sample(rate):
    time = np.arange(rate // 4) / rate
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    back = resample(resample(tone, rate, 22050), 22050, rate)
    assert abs(len(back) - len(tone)) <= rate / 22050  # a sample at the other rate
    middle = slice(len(tone) // 4, len(tone) * 3 // 4)
    # A hundredth of a sample at 22,050 Hz is 0.003 of a tone of 1 kHz.
    np.testing.assert_allclose(back[middle], tone[middle], atol=1e-3)


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
