"""Songs in stems: how they are found and read, the segments that are drawn from them, and what is learnt."""

import itertools
from typing import Any

import numpy as np
import pytest
import soundfile

import partae_fast as pf
from partae_fast.reference.philox import philox
from partae_fast.sampling.segments import SegmentSampler
from partae_fast.systems.cdae import Settings, fit_excerpts, read_songs, relative_error
from partae_fast.training.options import TrainingOptions
from partae_fast.training.stems import songs
from tests.calls import fit

RATE = 8000
SMALL: dict[str, Any] = {"rate": RATE, "n_fft": 48, "hop": 12, "batch": 8, "epochs": 1}


@pytest.fixture
def tree(tmp_path):
    """Two songs of MUSDB's layout in train/, one in test/; a tone for each source, in stereo, louder on the left."""
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


def test_songs_of_the_musdb_layout_are_found_and_those_to_test_on_are_not_learnt_from(tree):
    found = songs([tree])
    assert [song.name for song in found] == [str(tree / "train" / name) for name in ("A - One", "B - Two")]
    assert [list(song.stems) for song in found] == [["bass", "drums", "other", "vocals"]] * 2
    assert [song.name for song in songs([tree / "test"])] == [str(tree / "test" / "C - Three")]


def test_a_song_is_read_as_the_mean_of_its_channels_at_the_wanted_rate(tree):
    song = songs([tree])[1]
    mixture, stems = song.read(RATE)
    assert mixture.shape == (2401,) and stems.shape == (4, 2401)
    np.testing.assert_allclose(stems.sum(axis=0), mixture, atol=1e-4)
    time = np.arange(2401) / RATE
    np.testing.assert_allclose(stems[1], 0.075 * np.sin(2 * np.pi * 900 * time + 1), atol=1e-4)
    assert song.read(2 * RATE)[1].shape == (4, 4802)


def test_without_a_mixture_it_is_the_sum_and_a_folder_may_be_a_song(tmp_path):
    write_song(tmp_path / "pair", 0, ("one", "two"), mixture=False, suffix=".flac")
    (song,) = songs([tmp_path / "pair"])
    assert song.mixture is None and list(song.stems) == ["one", "two"]
    mixture, stems = song.read(RATE)
    np.testing.assert_array_equal(mixture, stems.sum(axis=0))


def test_what_is_wrong_with_songs_is_told(tmp_path):
    def told(folder, said):
        with pytest.raises(pf.UserError, match=said):
            songs([tmp_path / folder])

    told("nowhere", "no such folder")
    (tmp_path / "empty").mkdir()
    told("empty", "has no songs; give a folder for each song")
    write_song(tmp_path / "alone" / "a", 0, ("vocals",))
    told("alone", "has vocals; a song needs two sources or more")
    write_song(tmp_path / "lacks" / "a", 0)
    write_song(tmp_path / "lacks" / "b", 0, ("drums", "other", "vocals"))
    told("lacks", "b: has no bass, which .*a has")
    write_song(tmp_path / "twice", 0)
    soundfile.write(tmp_path / "twice" / "bass.flac", np.zeros(2400), RATE)
    told("twice", "has bass.flac and bass.wav; keep one")
    write_song(tmp_path / "long", 0)
    soundfile.write(tmp_path / "long" / "drums.wav", np.zeros((2500, 2)), RATE)
    told("long", "drums.wav has 2500 samples and bass.wav 2400")
    write_song(tmp_path / "fast", 0)
    soundfile.write(tmp_path / "fast" / "mixture.wav", np.zeros((2400, 2)), 2 * RATE)
    told("fast", "mixture.wav has 16000 Hz and bass.wav 8000")
    write_song(tmp_path / "silent", 0, mixture=False)
    for name in ("bass", "drums", "other", "vocals"):
        soundfile.write(tmp_path / "silent" / f"{name}.wav", np.zeros(2400), RATE)
    with pytest.raises(pf.UserError, match="silent, the mixture: every sample is 0"):
        songs([tmp_path / "silent"])[0].read(RATE)


@pytest.fixture
def excerpts():
    random = np.random.default_rng(0)
    return [random.normal(0, 0.1, (3, length)).astype(np.float32) for length in (500, 100, 731)]


@pytest.fixture
def spectrogram():
    return pf.Spectrogram(rate=RATE, n_fft=48, hop=12, low=0.0, high=RATE / 2, gain=3.0)


def test_segments_are_of_the_spectrograms_and_drawn_by_philox(excerpts, spectrogram):
    frames, batch, seed = 15, 6, 7
    sampler = SegmentSampler(excerpts, spectrogram, frames, batch, seed)
    whole = [np.stack([spectrogram.magnitude(track) for track in excerpt]) for excerpt in excerpts]
    every = [(m, n) for m in whole for n in range(m.shape[1] - frames + 1)]  # none of the second, which is too short
    assert len(every) == sum(max(0, m.shape[1] - frames + 1) for m in whole) and whole[1].shape[1] < frames
    counters = np.array([[3, item, 0, 0] for item in range(batch)])
    words = philox(counters, np.array([seed, 0]))[:, 0].astype(object)
    mixture, wanted = (part.numpy() for part in sampler.batch_at(3))
    assert mixture.shape == (batch, frames, 25) and wanted.shape == (batch, 2, frames, 25)
    for item, word in enumerate(words):
        magnitudes, start = every[int(word) * len(every) >> 32]
        np.testing.assert_allclose(mixture[item], magnitudes[0, start : start + frames], atol=2e-5)
        np.testing.assert_allclose(wanted[item], magnitudes[1:, start : start + frames], atol=2e-5)
    some = sampler.batch_at(3, range(2, 5))
    np.testing.assert_array_equal(some[0].numpy(), mixture[2:5])
    np.testing.assert_array_equal(some[1].numpy(), wanted[2:5])


def test_side_by_side_every_segment_comes_once(excerpts, spectrogram):
    sampler = SegmentSampler(excerpts, spectrogram, 15, 2, 0)
    whole = [spectrogram.magnitude(excerpt[0]) for excerpt in excerpts]
    wanted = [m[n * 15 : n * 15 + 15] for m in whole for n in range(len(m) // 15)]
    found = list(itertools.chain.from_iterable(mixture.numpy() for mixture, _ in sampler.in_order()))
    assert len(found) == sampler.segments == len(wanted) > 2
    np.testing.assert_allclose(np.stack(found), np.stack(wanted), atol=2e-5)


def test_fingerprints_tell_audio_and_settings_apart(excerpts, spectrogram):
    def fingerprint(excerpts, **changed):
        return SegmentSampler(excerpts, spectrogram, **{"frames": 3, "batch": 2, "seed": 0, **changed}).fingerprint()

    first = fingerprint(excerpts)
    assert first == fingerprint(excerpts)
    assert fingerprint(excerpts, seed=1) != first != fingerprint(excerpts[::-1])


def test_what_is_too_short_for_a_segment_is_told(excerpts, spectrogram):
    with pytest.raises(pf.UserError, match="has 10 frames, and a segment 15"):
        SegmentSampler(excerpts[1:2], spectrogram, 15, 2, 0)


@pytest.mark.parametrize("network", ["cdae", "fnn"])
def test_a_model_is_trained_on_a_tree_and_takes_a_song_apart(network, tree, tmp_path):
    model = fit(system=network, stems=tree, settings=SMALL, checkpoint=tmp_path / "c", backend="eager")
    assert model.sources == ("bass", "drums", "other", "vocals") and len(model.history.loss) > 1
    material = read_songs(songs([tree]), Settings(network, **SMALL))
    magnitudes = np.concatenate([model.spectrogram.magnitude(excerpt[0]) for excerpt in material.training])
    np.testing.assert_allclose(np.sqrt(np.mean(magnitudes**2, axis=0)), model.scale.numpy(), rtol=1e-4)
    level = read_songs(songs([tree]), Settings(network, equalise=False, **SMALL)).scale
    np.testing.assert_allclose(level, np.sqrt(np.mean(magnitudes**2)), rtol=1e-4)
    again = fit(system=network, stems=tree, settings=SMALL, checkpoint=tmp_path / "c", resume=True, backend="eager")
    assert again.history.loss == model.history.loss  # all its epochs were done


def test_networks_learn_which_tone_is_whose(tree):
    settings = Settings(**{"network": "fnn", **SMALL, "batch": 16, "epochs": 12})
    material = read_songs(songs([tree]), settings)
    held_out = SegmentSampler(material.held_out, material.spectrogram, 1, 16, 0)
    untrained = relative_error(settings.model(material.sources, 0), held_out)
    assert (
        relative_error(fit_excerpts(material, settings, TrainingOptions(backend="eager")), held_out)
        < 0.4
        < 0.7
        < untrained
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"held_out": 1.0}, "held_out is 1; it is a share"),
        ({"epochs": -1}, "epochs is -1"),
        ({"network": "rnn"}, "network is 'rnn'; choose cdae or fnn"),
        ({"n_fft": 64, "hop": 16}, "bins is 33; pooling divides it by 25"),
    ],
)
def test_settings_out_of_range_are_told(changed, said, tree):
    with pytest.raises(pf.UserError, match=said):
        fit(system="cdae", stems=tree, settings=SMALL | changed)
