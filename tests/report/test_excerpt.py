"""The choice of an excerpt, and its agreement with the denoised recording."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.denoising import denoise
from partae_fast.errors import UserError
from partae_fast.report import excerpt as module
from partae_fast.report.excerpt import denoised_excerpt

from .conftest import RATE, sound


@pytest.fixture
def long(tmp_path):
    """Return a recording of 30 s with a song from 17.2 to 19.5 s, and a louder one in the second channel."""
    samples = np.stack([sound(30, (17.2, 19.5)), 3 * sound(30, (5, 7), seed=1)], axis=1)
    files.write(tmp_path / "long.wav", samples, RATE, "FLOAT")
    return tmp_path / "long.wav"


def test_a_short_recording_is_used_completely(long, model):
    excerpt = denoised_excerpt(long, model, seconds=30)
    assert (excerpt.start, excerpt.choice, excerpt.seconds) == (0, "", 30)
    assert np.array_equal(excerpt.before, files.read(long)[0][:, 0])


def test_the_excerpt_of_a_long_recording_has_the_loudest_signal(long, model):
    excerpt = denoised_excerpt(long, model, seconds=4)
    assert excerpt.start in (16, 17) and excerpt.seconds == 4  # both contain the whole song
    assert excerpt.choice == "where the signal is loudest"


def test_only_the_first_hour_is_searched(long, model, monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 12.0)
    excerpt = denoised_excerpt(long, model, seconds=4)
    assert excerpt.start + 4 <= 12 and excerpt.choice.startswith("where the signal is loudest in its first")


@pytest.mark.parametrize("rate", [RATE, 44_100, 48_000])
@pytest.mark.parametrize(("start", "seconds"), [(17.0, 2.5), (0.0, 1.0), (0.3, 1.0), (18.5, 10.0)])
def test_an_excerpt_equals_the_denoised_recording(tmp_path, model, start, seconds, rate):
    """This also holds if the excerpt does not start at a pool boundary."""
    song = sound(21, (17.2, 19.5), rate)
    files.write(tmp_path / "a.wav", song, rate, "FLOAT")
    excerpt = denoised_excerpt(tmp_path / "a.wav", model, seconds, start, reduction=20.0)
    samples = slice(round(start * rate), round(min(start + seconds, 21) * rate))
    assert excerpt.start == pytest.approx(start) and excerpt.choice == "chosen by the author"
    assert np.array_equal(excerpt.before, song[samples])
    assert np.array_equal(excerpt.before - excerpt.signal, excerpt.noise)
    assert np.abs(excerpt.signal - denoise(song, rate, model, reduction=20.0)[samples]).max() < 1e-5


def test_a_distant_pool_boundary_is_not_used(model):
    assert module._aligned_start(100 * 44_101, 44_101, model) == 99 * 44_101


def test_a_start_outside_the_recording_is_refused(long, model):
    for start in (30.0, -1.0):
        with pytest.raises(UserError, match=rf"long.wav: start is {start:g} s, but the recording lasts 30.0 s"):
            denoised_excerpt(long, model, 1.0, start)
