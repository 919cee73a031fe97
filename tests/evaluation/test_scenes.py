"""Scenes are what their docstring says: levels, cuts, rates, bands, and clear words for folders that make none."""

import numpy as np
import pytest

from partae_fast.audio.resample import resample
from partae_fast.errors import UserError
from partae_fast.evaluation.scenes import Scene, scenes_of
from partae_fast.metrics import band

from .conftest import RATE, hiss, song, write


def decibels(first, second):
    return 10 * np.log10(np.mean(np.square(first)) / np.mean(np.square(second)))


def scene(limits=(2000.0, 4000.0)):
    return Scene("s", song(), hiss(3.0, 0), hiss(2.0, 1), RATE, limits)


@pytest.mark.parametrize("level", [-10.0, 0.0, 5.0])
def test_mixture_has_the_level_in_the_band_and_leaves_the_song_as_it_is(level):
    made = scene()
    mixture, noise_only = made.mixture(level)
    noise = mixture - made.song
    inside = [band(part, RATE, *made.band) for part in (made.song, noise)]
    assert decibels(*inside) == pytest.approx(level, abs=1e-3)
    scale = noise @ made.noise / (made.noise @ made.noise)
    np.testing.assert_allclose(noise, scale * made.noise, atol=1e-6)
    np.testing.assert_allclose(noise_only, scale * made.noise_only, atol=1e-6)
    assert mixture.dtype == noise_only.dtype == np.float32


def test_mismatch_is_of_the_noise_only_audio_alone():
    mixture, noise_only = scene().mixture(0.0)
    other_mixture, louder = scene().mixture(0.0, mismatch=12.0)
    assert np.array_equal(mixture, other_mixture)
    assert decibels(louder, noise_only) == pytest.approx(12.0, abs=1e-3)


@pytest.mark.parametrize("limits", [(4000.0, 2000.0), (2000.0, 9000.0), (-1.0, 2000.0), (2000.0, 2000.0)])
def test_a_band_that_is_none_is_refused(limits):
    with pytest.raises(UserError, match="s: the band is"):
        scene(limits)


def test_a_scene_without_sound_in_the_band_is_refused():
    with pytest.raises(UserError, match="nothing sounds in the noise-only audio"):
        Scene("s", song(), hiss(3.0, 0), np.zeros(RATE, np.float32), RATE, (2000.0, 4000.0))


def test_folder_makes_every_clean_file_with_every_noise(folder):
    found = scenes_of(folder)
    assert [s.name for s in found] == ["a, rain", "a, wind", "b, rain", "b, wind"]
    for made in found:
        assert made.rate == RATE and len(made.song) == len(made.noise)
    wind, short = hiss(6.0, 1), found[3]
    assert len(short.song) == round(0.6 * 6 * RATE)  # song b lasts 4 s
    np.testing.assert_array_equal(short.noise, wind[: len(short.song)])
    np.testing.assert_array_equal(short.noise_only, wind[round(0.6 * len(wind)) :])
    assert len(found[1].song) == 3 * RATE  # song a is shorter than what is mixed, and nothing of the rest is
    np.testing.assert_array_equal(found[1].noise_only, short.noise_only)
    np.testing.assert_array_equal(found[0].noise, resample(hiss(5.0, 2, 12000), 12000, RATE)[: 3 * RATE])


def test_band_of_a_folder_holds_most_of_the_song_and_ends_with_the_noise(folder):
    for made in scenes_of(folder):
        low, high = made.band
        energy = np.square(band(made.song, RATE, low, high)).sum() / np.square(made.song.astype(float)).sum()
        limited = made.name == "b, rain" and high == 6000
        assert energy == pytest.approx(0.9, abs=0.01) or limited
    write(folder / "clean" / "b.wav", song(4.0, pitch=6500.0))
    assert scenes_of(folder, low=1000.0)[2].band == (1000.0, 6000.0)
    assert scenes_of(folder, low=1000.0, high=3000.0)[3].band == (1000.0, 3000.0)
    with pytest.raises(UserError, match="a, rain: the band is 7000 to 6000 Hz"):
        scenes_of(folder, low=7000.0, high=7500.0)


def test_pairs_of_one_name_are_one_scene_each_with_noise_only_audio_of_their_own(folder):
    (folder / "noise" / "rain.wav").rename(folder / "noise" / "a.wav")
    (folder / "noise" / "wind.wav").rename(folder / "noise" / "b.wav")
    write(folder / "noise_only" / "b.flac", hiss(1.5, 3))
    first, second = scenes_of(folder)
    assert (first.name, second.name) == ("a", "b")
    assert len(first.noise_only) == 2 * RATE  # the last 40 % of 5 s
    np.testing.assert_allclose(second.noise_only, hiss(1.5, 3), atol=1e-4)
    np.testing.assert_array_equal(second.noise, hiss(6.0, 1)[: 4 * RATE])
    write(folder / "noise_only" / "c.wav", hiss(1.0, 4))
    with pytest.raises(UserError, match=r"c\.wav: .*clean has no file of this name"):
        scenes_of(folder)


def test_first_channel_is_taken_and_hidden_files_are_none(folder):
    write(folder / "clean" / "a.wav", np.stack([song(), hiss(3.0, 5)], 1))
    (folder / "clean" / ".notes").write_text("no recording")
    np.testing.assert_array_equal(scenes_of(folder)[0].song, song())


def test_folders_that_make_no_scene_say_what_is_wanted(folder, tmp_path):
    with pytest.raises(UserError, match="has no folder clean"):
        scenes_of(tmp_path / "clean")
    for path in (folder / "noise").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="noise: has no file"):
        scenes_of(folder)
    (folder / "noise" / "list.txt").write_text("no recording")
    with pytest.raises(UserError, match=r"list\.txt: not usable as audio"):
        scenes_of(folder)
    (folder / "noise" / "list.txt").unlink()
    write(folder / "noise" / "n.wav", np.zeros(RATE, np.float32))
    with pytest.raises(UserError, match=r"n\.wav: every sample is 0"):
        scenes_of(folder)


def test_recordings_beside_the_project_make_twelve_scenes(shared_data):
    root = shared_data("birdsong/chiffchaff.flac").parents[1]
    found = scenes_of(root)
    assert len(found) == len({s.name for s in found}) == 12
    shared_data("noise/cafe.flac")
    for made in found:
        assert len(made.song) == len(made.noise) and made.band[1] in (7200.0, 8000.0)
        assert len(made.noise_only) > made.rate  # seconds of it, and not a repetition of what is mixed
        assert not np.array_equal(made.noise_only[:1000], made.noise[:1000])
