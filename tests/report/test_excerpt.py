"""Which stretch of a recording is shown, and that its parts are those of the whole recording."""

import numpy as np
import pytest

from partae_fast.audio import files
from partae_fast.denoising import denoise
from partae_fast.errors import UserError
from partae_fast.report import excerpt as module
from partae_fast.report.excerpt import excerpt

from .conftest import RATE, sound


@pytest.fixture
def long(tmp_path):
    """Half a minute with a song from 17.2 to 19.5 s, and a louder one in another channel."""
    samples = np.stack([sound(30, (17.2, 19.5)), 3 * sound(30, (5, 7), seed=1)], axis=1)
    files.write(tmp_path / "long.wav", samples, RATE, "FLOAT")
    return tmp_path / "long.wav"


def test_a_short_recording_is_shown_whole(long, model):
    found = excerpt(long, model, seconds=30)
    assert (found.start, found.choice, found.seconds) == (0, "", 30)
    assert np.array_equal(found.before, files.read(long)[0][:, 0])


def test_of_a_long_one_the_loudest_signal_is_shown(long, model):
    found = excerpt(long, model, seconds=4)
    assert found.start in (16, 17) and found.seconds == 4  # both have all of the song
    assert found.choice == "where the signal is loudest"


def test_of_a_very_long_one_the_first_hour_is_searched(long, model, monkeypatch):
    monkeypatch.setattr(module, "SEARCHED", 12.0)
    found = excerpt(long, model, seconds=4)
    assert found.start + 4 <= 12 and found.choice.startswith("where the signal is loudest of its first")


@pytest.mark.parametrize("rate", [RATE, 44_100, 48_000])
@pytest.mark.parametrize(("start", "seconds"), [(17.0, 2.5), (0.0, 1.0), (0.3, 1.0), (18.5, 10.0)])
def test_its_parts_are_those_of_the_whole_recording(tmp_path, model, start, seconds, rate):
    """Also where pools begin elsewhere than excerpts do: this model reconstructs one frame of four."""
    song = sound(21, (17.2, 19.5), rate)
    files.write(tmp_path / "a.wav", song, rate, "FLOAT")
    found = excerpt(tmp_path / "a.wav", model, seconds, start, reduction=20.0)
    own = slice(round(start * rate), round(min(start + seconds, 21) * rate))
    assert found.start == pytest.approx(start) and found.choice == "chosen by hand"
    assert np.array_equal(found.before, song[own])
    assert np.array_equal(found.before - found.signal, found.noise)
    assert np.abs(found.signal - denoise(song, rate, model, reduction=20.0)[own]).max() < 1e-5


def test_where_pools_and_samples_hardly_ever_meet_it_begins_near(model):
    begin = module._begin(100 * 44_101, 44_101, model)
    assert begin == 99 * 44_101


def test_a_start_that_is_not_in_the_recording_is_refused(long, model):
    for start in (30.0, -1.0):
        with pytest.raises(UserError, match=r"long.wav: lasts 30.0 s and has no"):
            excerpt(long, model, 1.0, start)
