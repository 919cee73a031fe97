"""Mixtures in files: what is written is read back."""

import csv

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.errors import UserError
from partae_fast.sampling.mixture_files import TABLE, read_mixtures, write_mixtures
from partae_fast.sampling.mixtures import MixtureSampler

RATE = 8000


@pytest.fixture
def sampler():
    random = np.random.default_rng(0)
    sources = [{f"{kind} {n}": [random.normal(size=RATE)] for n in range(3)} for kind in ("voice", "noise")]
    return MixtureSampler(*sources, rate=RATE, seconds=0.25, n_fft=64, hop=32, snr=(-5.0, 5.0), batch=4, seed=7)


def test_mixtures_are_those_of_the_sampler_bit_for_bit(sampler, tmp_path):
    table = write_mixtures(tmp_path / "set", sampler, count=6, first=2)
    assert table == tmp_path / "set" / TABLE
    mixtures = list(read_mixtures(tmp_path / "set"))
    assert [mixture.name for mixture in mixtures] == [f"mixture{number:05d}" for number in range(2, 8)]
    names = [*sampler.voices, *sampler.noises]
    for number, mixture in enumerate(mixtures, start=2):
        sounds, sources = sampler.sounds_at(number // 4)
        voice, noise = sounds[number % 4].numpy()
        np.testing.assert_array_equal(mixture.voice, voice)
        np.testing.assert_array_equal(mixture.noise, noise)
        np.testing.assert_array_equal(mixture.mixture, voice + noise)
        assert [mixture.voice_name, mixture.noise_name] == [names[source] for source in sources[number % 4].tolist()]
        assert mixture.rate == RATE
        assert mixture.snr == pytest.approx(10 * np.log10(np.sum(voice**2) / np.sum(noise**2)), abs=1e-4)
        assert -5 <= mixture.snr <= 5


def test_the_table_is_that_of_librimix(sampler, tmp_path):
    import soundfile

    with open(write_mixtures(tmp_path, sampler, count=2), newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["mixture_ID", "mixture_path", "source_1_path", "noise_path", "length"]
    assert rows[1]["mixture_path"] == "mix/mixture00001.wav" and rows[1]["source_1_path"] == "s1/mixture00001.wav"
    assert rows[1]["length"] == "2000"
    assert soundfile.info(tmp_path / rows[1]["noise_path"]).subtype == "FLOAT"


def test_public_names():
    assert pf.write_mixtures is write_mixtures and pf.read_mixtures is read_mixtures
    assert pf.MixtureSampler is MixtureSampler


def test_bad_input_is_reported(sampler, tmp_path):
    import soundfile

    with pytest.raises(UserError, match="count is 0 and first 0"):
        write_mixtures(tmp_path, sampler, count=0)
    with pytest.raises(UserError, match=r"mixtures\.csv: no such file"):
        next(read_mixtures(tmp_path))
    table = write_mixtures(tmp_path, sampler, count=2)
    with pytest.raises(UserError, match=r"mixtures\.csv: exists; name another folder"):
        write_mixtures(tmp_path, sampler, count=2)
    soundfile.write(tmp_path / "s1" / "mixture00001.wav", np.ones(1999), RATE)
    mixtures = read_mixtures(tmp_path)
    next(mixtures)
    with pytest.raises(UserError, match=r"mixture00001.wav: has 1999 samples at 8000 Hz, and the table says 2000"):
        next(mixtures)
    table.write_text(table.read_text().replace(",2000,", ",long,"))
    with pytest.raises(UserError, match=r"mixtures\.csv: line 2 is damaged"):
        next(read_mixtures(tmp_path))
