"""Scenes: levels, cuts, rates, bands, and errors for unsuitable folders."""

import numpy as np
import pytest

from partae_fast.audio.resample import resample
from partae_fast.errors import UserError
from partae_fast.evaluation.scenes import Scene, loudest, scenes_of
from partae_fast.metrics import band

from .conftest import RATE, hiss, song, write


def decibels(first, second):
    return 10 * np.log10(np.mean(np.square(first)) / np.mean(np.square(second)))


def make_scene(limits=(2000.0, 4000.0)):
    return Scene("s", song(), hiss(3.0, 0), hiss(2.0, 1), RATE, limits)


@pytest.mark.parametrize("level", [-10.0, 0.0, 5.0])
def test_mixture_has_the_level_in_the_band_and_contains_the_song_unscaled(level):
    scene = make_scene()
    mixture, noise_only = scene.mixture(level)
    noise = mixture - scene.song
    in_band = [band(audio, RATE, *scene.band) for audio in (scene.song, noise)]
    assert decibels(*in_band) == pytest.approx(level, abs=1e-3)
    scale = noise @ scene.noise / (scene.noise @ scene.noise)
    np.testing.assert_allclose(noise, scale * scene.noise, atol=1e-6)
    np.testing.assert_allclose(noise_only, scale * scene.noise_only, atol=1e-6)
    assert mixture.dtype == noise_only.dtype == np.float32


def test_mismatch_scales_only_the_noise_only_audio():
    mixture, noise_only = make_scene().mixture(0.0)
    other_mixture, louder = make_scene().mixture(0.0, mismatch=12.0)
    assert np.array_equal(mixture, other_mixture)
    assert decibels(louder, noise_only) == pytest.approx(12.0, abs=1e-3)


@pytest.mark.parametrize("limits", [(4000.0, 2000.0), (2000.0, 9000.0), (-1.0, 2000.0), (2000.0, 2000.0)])
def test_invalid_bands_are_rejected(limits):
    with pytest.raises(UserError, match="s: the band is"):
        make_scene(limits)


def test_silence_in_the_band_is_rejected():
    with pytest.raises(UserError, match="noise-only audio is silent from 2000 to 4000 Hz"):
        Scene("s", song(), hiss(3.0, 0), np.zeros(RATE, np.float32), RATE, (2000.0, 4000.0))


def test_every_clean_file_is_combined_with_every_noise(folder):
    scenes = scenes_of(folder)
    assert [s.name for s in scenes] == ["a, rain", "a, wind", "b, rain", "b, wind"]
    for scene in scenes:
        assert scene.rate == RATE and len(scene.song) == len(scene.noise)
    wind, b_in_wind = hiss(6.0, 1), scenes[3]
    assert len(b_in_wind.song) == round(0.6 * 6 * RATE)  # song b lasts 4 s and is cut
    np.testing.assert_array_equal(b_in_wind.noise, wind[: len(b_in_wind.song)])
    np.testing.assert_array_equal(b_in_wind.noise_only, wind[round(0.6 * len(wind)) :])
    assert len(scenes[1].song) == 3 * RATE  # song a is shorter than the noise for the mixture
    np.testing.assert_array_equal(scenes[1].noise_only, b_in_wind.noise_only)
    np.testing.assert_array_equal(scenes[0].noise, resample(hiss(5.0, 2, 12000), 12000, RATE)[: 3 * RATE])


def test_a_song_that_is_longer_than_its_noise_is_cut_to_its_loudest_stretch(folder, caplog):
    silence = np.zeros(5 * RATE, np.float32)
    late = np.concatenate([silence, song(2.0), silence])
    write(folder / "clean" / "a.wav", late)
    write(folder / "noise" / "wind.wav", hiss(2.0, 1))  # 1.2 s of it are for the mixture
    with caplog.at_level("INFO", "partae_fast"):
        scene = scenes_of(folder)[1]
    assert scene.name == "a, wind" and len(scene.song) == len(scene.noise) == round(1.2 * RATE)
    energy = np.convolve(np.square(late, dtype=np.float64), np.ones(len(scene.song)), "valid")
    assert np.square(scene.song, dtype=np.float64).sum() == pytest.approx(energy.max())
    first = loudest(late, len(scene.song))
    assert first > 4.9 * RATE
    np.testing.assert_array_equal(scene.song, late[first : first + len(scene.song)])
    assert f"a, wind: the song is cut to 1.20 s from {first / RATE:.2f} s on" in caplog.messages


def test_the_loudest_stretch_is_the_first_of_equal_ones():
    assert loudest(np.ones(10, np.float32), 3) == 0
    assert loudest(np.float32([0, 0, 1, 0, 2, 0]), 2) == 3
    assert loudest(np.float32([1, 2, 3]), 3) == 0


def test_noise_that_is_too_short_for_a_mixture_is_refused(folder):
    write(folder / "noise" / "wind.wav", hiss(0.8, 1))
    with pytest.raises(UserError, match=r"wind\.wav: leaves 0\.48 s of noise for a mixture, and it takes 0\.5 s; give"):
        scenes_of(folder)


def test_default_band_contains_most_of_the_song_and_ends_at_half_the_noise_rate(folder):
    for scene in scenes_of(folder):
        low, high = scene.band
        energy = np.square(band(scene.song, RATE, low, high)).sum() / np.square(scene.song.astype(float)).sum()
        limited = scene.name == "b, rain" and high == 6000
        assert energy == pytest.approx(0.9, abs=0.01) or limited
    write(folder / "clean" / "b.wav", song(4.0, pitch=6500.0))
    assert scenes_of(folder, low=1000.0)[2].band == (1000.0, 6000.0)
    assert scenes_of(folder, low=1000.0, high=3000.0)[3].band == (1000.0, 3000.0)
    with pytest.raises(UserError, match="a, rain: the band is 7000 to 6000 Hz"):
        scenes_of(folder, low=7000.0, high=7500.0)


def test_files_of_the_same_name_make_pairs(folder):
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


def test_the_first_channel_is_used_and_hidden_files_are_ignored(folder):
    write(folder / "clean" / "a.wav", np.stack([song(), hiss(3.0, 5)], 1))
    (folder / "clean" / ".notes").write_text("no recording")
    np.testing.assert_array_equal(scenes_of(folder)[0].song, song())


def test_unsuitable_folders_are_rejected(folder, tmp_path):
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


def test_project_recordings_make_twelve_scenes(shared_data):
    root = shared_data("birdsong/chiffchaff.flac").parents[1]
    scenes = scenes_of(root)
    assert len(scenes) == len({s.name for s in scenes}) == 12
    shared_data("noise/cafe.flac")
    for scene in scenes:
        assert len(scene.song) == len(scene.noise) and scene.band[1] in (7200.0, 8000.0)
        assert len(scene.noise_only) > scene.rate  # more than a second, and other audio than the noise
        assert not np.array_equal(scene.noise_only[:1000], scene.noise[:1000])
