"""Tests of songs given as stems: layouts, reading and refused input."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.training.stems import songs

soundfile = pytest.importorskip("soundfile")
RATE = 8000


@pytest.fixture
def tree(tmp_path):
    """Write two songs to train/ and one to test/, as in MUSDB.

    Each source is a stereo tone, louder on the left.
    """
    for number, name in enumerate(["train/A - One", "train/B - Two", "test/C - Three"]):
        write_song(tmp_path / "songs" / name, number)
    return tmp_path / "songs"


def write_song(folder, number, sources=("bass", "drums", "other", "vocals"), mixture=True, suffix=".wav", length=2400):
    folder.mkdir(parents=True)
    time = np.arange(length + number) / RATE
    parts = {name: 0.1 * np.sin(2 * np.pi * 300 * (2 + i) * time + number) for i, name in enumerate(sources)}
    stems = {name: np.stack([part, part / 2], axis=1) for name, part in parts.items()}
    for name, samples in {**stems, **({"mixture": sum(stems.values())} if mixture else {})}.items():
        soundfile.write(folder / f"{name}{suffix}", samples, RATE)
    return stems


def test_musdb_layout_gives_the_training_songs(tree):
    training_songs = songs([tree])
    assert [song.name for song in training_songs] == [str(tree / "train" / name) for name in ("A - One", "B - Two")]
    assert [list(song.stems) for song in training_songs] == [["bass", "drums", "other", "vocals"]] * 2
    assert [song.name for song in songs([tree / "test"])] == [str(tree / "test" / "C - Three")]


def test_song_is_read_as_the_mean_of_its_channels_at_a_rate(tree):
    song = songs([tree])[1]
    mixture, stems = song.read(RATE)
    assert mixture.shape == (2401,) and stems.shape == (4, 2401)
    np.testing.assert_allclose(stems.sum(axis=0), mixture, atol=1e-4)
    time = np.arange(2401) / RATE
    np.testing.assert_allclose(stems[1], 0.075 * np.sin(2 * np.pi * 900 * time + 1), atol=1e-4)
    assert song.read(2 * RATE)[1].shape == (4, 4802)


def test_missing_mixture_is_the_sum_of_the_stems(tmp_path):
    write_song(tmp_path / "pair", 0, ("one", "two"), mixture=False, suffix=".flac")
    (song,) = songs([tmp_path / "pair"])
    assert song.mixture is None and list(song.stems) == ["one", "two"]
    mixture, stems = song.read(RATE)
    np.testing.assert_array_equal(mixture, stems.sum(axis=0))


def test_invalid_songs_are_refused(tmp_path):
    def refused(folder, message):
        with pytest.raises(pf.UserError, match=message):
            songs([tmp_path / folder])

    refused("nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    refused("empty", "has no songs; give a folder for each song")
    write_song(tmp_path / "alone" / "a", 0, ("vocals",))
    refused("alone", "has vocals; a song needs two sources or more")
    write_song(tmp_path / "lacks" / "a", 0)
    write_song(tmp_path / "lacks" / "b", 0, ("drums", "other", "vocals"))
    refused("lacks", "b: has no bass, which .*a has")
    write_song(tmp_path / "twice", 0)
    soundfile.write(tmp_path / "twice" / "bass.flac", np.zeros(2400), RATE)
    refused("twice", "has bass.flac and bass.wav; keep one")
    write_song(tmp_path / "long", 0)
    soundfile.write(tmp_path / "long" / "drums.wav", np.zeros((2500, 2)), RATE)
    refused("long", "drums.wav has 2500 samples and bass.wav 2400")
    write_song(tmp_path / "fast", 0)
    soundfile.write(tmp_path / "fast" / "mixture.wav", np.zeros((2400, 2)), 2 * RATE)
    refused("fast", "mixture.wav has 16000 Hz and bass.wav 8000")
    write_song(tmp_path / "silent", 0, mixture=False)
    for name in ("bass", "drums", "other", "vocals"):
        soundfile.write(tmp_path / "silent" / f"{name}.wav", np.zeros(2400), RATE)
    with pytest.raises(pf.UserError, match="silent, the mixture: every sample is 0"):
        songs([tmp_path / "silent"])[0].read(RATE)
