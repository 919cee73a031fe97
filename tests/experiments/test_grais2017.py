"""The experiment of Grais & Plumbley 2017: songs made by code or found in folders, rules, a run from end to end."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partae_fast.errors import UserError
from partae_fast.experiments.grais2017 import experiment, synthesis
from partae_fast.experiments.grais2017.claims import judge
from partae_fast.experiments.grais2017.data import tasks
from partae_fast.experiments.grais2017.report import layers, report
from partae_fast.experiments.grais2017.scores import normalised, scores
from partae_fast.systems.cdae import Piece

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PARAMETERS = {"fnn": 4_206_600, "cdae": 37_101}
RATE = 16000


def rows(drums=1.0, vocals=0.1, bass=-0.1, count=8):
    """Songs in which the CDAE is so many dB of SDR above the FNN, a little more in each, on a mixture of -5 dB."""
    made = []
    for song in range(count):
        for source, gain in {"drums": drums, "vocals": vocals, "bass": bass}.items():
            for method, above in {"mixture": 0.0, "fnn": 4.0, "cdae": 4.0 + gain + 0.01 * song}.items():
                ratios = {"sdr_db": above - 5, "sir_db": above - 5, "sar_db": 60.0 if method == "mixture" else 9.0}
                made.append({"task": "songs", "song": f"{song}", "source": source, "method": method, **ratios})
    return made


@pytest.mark.parametrize(
    ("changed", "verdicts"),
    [
        ({}, {"a": True, "b": True, "c": True}),
        ({"vocals": -1.5}, {"a": False, "b": True, "c": True}),
        ({"bass": 1.5}, {"a": False, "b": True, "c": True}),
        ({"drums": -1.0}, {"a": True, "b": False, "c": True}),
        ({"drums": -0.035}, {"a": True, "b": False, "c": True}),  # above in half of the songs
        ({"count": 5}, {"a": True, "b": None, "c": True}),
    ],
)
def test_the_rules_decide(changed, verdicts):
    assert {claim.letter: claim.holds for claim in judge(rows(**changed), PARAMETERS)} == verdicts


def test_without_the_paper_s_sources_nothing_is_told_of_them():
    others = [{**row, "source": "one"} for row in rows()]
    assert [claim.holds for claim in judge(others, PARAMETERS)] == [None, None, True]


def test_sdr_and_sir_are_above_the_mixture_s_own_and_sar_is_as_it_is():
    assert normalised(rows(), "fnn", "drums", "sdr") == pytest.approx(dict.fromkeys("01234567", 4.0))
    assert set(normalised(rows(), "fnn", "drums", "sar").values()) == {9.0}


def test_table_1_is_the_paper_s():
    text = "\n".join(layers())
    for line in ("| max-pooling (3, 5) | 5 x 205 x 12 | |", "| 3 x 3 convolution, 40 | 5 x 41 x 40 | 10,840 |"):
        assert line in text
    assert layers()[-1] == "| 3 x 3 convolution, 1 | 15 x 1025 x 1 | 109 |"
    counts = [line.split("|")[3].strip().replace(",", "") for line in layers()[2:]]
    assert sum(int(count) for count in counts if count) == PARAMETERS["cdae"]


def test_songs_made_by_code_are_the_same_again_and_sound_as_they_should():
    first, again, other = (synthesis.song(0, number, 2.0, RATE) for number in (1, 1, 2))
    for source in synthesis.SOURCES:
        np.testing.assert_array_equal(first[source], again[source])
        assert not np.array_equal(first[source], other[source])
        assert first[source].shape == (2 * RATE,) and 0.06 < np.sqrt(np.mean(first[source] ** 2)) < 0.15

    def centroid(samples):
        power = np.abs(np.fft.rfft(samples)) ** 2
        return float(power @ np.fft.rfftfreq(len(samples), 1 / RATE) / power.sum())

    assert centroid(first["bass"]) < 200 < centroid(first["vocals"])


@pytest.fixture
def noises():
    pytest.importorskip("fast_bss_eval")
    return dict(zip("abc", np.random.default_rng(0).normal(0, 0.1, (3, 4000)).astype(np.float32), strict=True))


def test_silent_sources_are_named_and_left_out(noises):
    noises["b"][:] = 0
    piece = Piece("song", noises["a"] + noises["c"], noises)
    found, silent = scores("songs", [piece], {}, RATE)
    assert silent == ["b of song"] and [row["source"] for row in found] == ["a", "c"]
    assert all(abs(row["sdr_db"]) < 1.5 and row["sar_db"] > 50 for row in found)
    text = report(judge(found, PARAMETERS), ["What was run."], found, silent, PARAMETERS)
    assert "Silent, and left out: b of song." in text and "| FNN | 4,206,600 |" in text


def write_songs(folder, names, seconds=1.0):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for source, samples in synthesis.song(1, number, seconds, RATE).items():
            soundfile.write(folder / name / f"{source}.wav", np.stack([samples, samples], 1), RATE)


def test_songs_to_learn_from_are_those_in_train_or_the_first_half(tmp_path):
    write_songs(tmp_path / "musdb", ["train/a", "train/b", "test/c"])
    write_songs(tmp_path / "plain", ["a", "b", "c"])
    (parted,), (halved,) = tasks(tmp_path / "musdb"), tasks(tmp_path / "plain", seconds=0.5)
    assert [[p.name for p in part] for part in (parted.learnt, parted.tested)] == [["train/a", "train/b"], ["test/c"]]
    assert [[p.name for p in part] for part in (halved.learnt, halved.tested)] == [["a", "b"], ["c"]]
    assert len(parted.tested[0].mixture) == 44100 and len(halved.tested[0].mixture) == 22050
    assert {s.epochs for s in parted.settings.values()} == {s.batch for s in parted.settings.values()} == {100}
    write_songs(tmp_path / "one", ["a"])
    with pytest.raises(UserError, match="has one song; give two or more"):
        tasks(tmp_path / "one")


def test_the_project_s_recordings_are_two_speakers_beside_songs_made_by_code():
    if not (DATA / "separation").is_dir():
        pytest.skip("no ../shared/data/separation")
    made, spoken = tasks(DATA, seconds=0.5)
    assert made.sources == synthesis.SOURCES and spoken.sources == ("source1", "source2")
    assert "not recorded" in made.about and "No claim rests on it" in spoken.about


@pytest.fixture
def small(monkeypatch):
    """Windows of 48 samples at 8 kHz in place of the paper's."""

    def shrunk(*args):
        found = tasks(*args)
        settings = {
            name: replace(s, rate=8000, n_fft=48, hop=12) for task in found for name, s in task.settings.items()
        }
        return [replace(task, settings=settings) for task in found]

    monkeypatch.setattr(experiment, "tasks", shrunk)


def test_a_run_on_a_tree_of_the_musdb_layout(tmp_path, small):
    pytest.importorskip("fast_bss_eval")
    write_songs(tmp_path / "songs", ["train/a", "test/b"])
    result = experiment.run(tmp_path / "out", tmp_path / "songs", epochs=1, seconds=0.8, backend="eager")
    text = (tmp_path / "out" / "claims.md").read_text()
    with open(tmp_path / "out" / "results.csv") as file:
        table = list(csv.DictReader(file))
    assert len(table) % 3 == 0 and {row["method"] for row in table} == {"mixture", "fnn", "cdae"}
    assert result["claims"][1]["holds"] is None and "**cannot be told**" in text
    assert "Songs in songs: 1 songs, 1 s in all to learn from" in text and "the first 0.8 s of each" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.csv", "boxplots.png", "boxplots.svg", "claims.md"),
        *("songs.cdae.safetensors", "songs.fnn.safetensors"),
    }
