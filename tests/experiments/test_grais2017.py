"""The experiment of Grais & Plumbley 2017: datasets, scores, rules of the claims, and a whole run."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partae_fast.errors import UserError
from partae_fast.experiments.grais2017 import experiment, synthesis
from partae_fast.experiments.grais2017.claims import check_claims
from partae_fast.experiments.grais2017.data import load
from partae_fast.experiments.grais2017.markdown import claims_markdown, layer_table
from partae_fast.experiments.grais2017.scores import improvement, scores
from partae_fast.systems.cdae import Piece

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PARAMETERS = {"fnn": 4_206_600, "cdae": 37_101}
RATE = 16000


def score_rows(drums=1.0, vocals=0.1, bass=-0.1, count=8):
    """Return rows in which the CDAE has these gains over the FNN, 0.01 dB more with each song, at -5 dB."""
    rows = []
    for song in range(count):
        for source, gain in {"drums": drums, "vocals": vocals, "bass": bass}.items():
            for method, improved in {"mixture": 0.0, "fnn": 4.0, "cdae": 4.0 + gain + 0.01 * song}.items():
                ratios = {
                    "sdr_db": improved - 5,
                    "sir_db": improved - 5,
                    "sar_db": 60.0 if method == "mixture" else 9.0,
                }
                rows.append({"task": "songs", "song": f"{song}", "source": source, "method": method, **ratios})
    return rows


@pytest.mark.parametrize(
    ("changed", "verdicts"),
    [
        ({}, {"a": True, "b": True, "c": True}),
        ({"vocals": -1.5}, {"a": False, "b": True, "c": True}),
        ({"bass": 1.5}, {"a": False, "b": True, "c": True}),
        ({"drums": -1.0}, {"a": True, "b": False, "c": True}),
        ({"drums": -0.035}, {"a": True, "b": False, "c": True}),  # above 0 in half of the songs
        ({"count": 5}, {"a": True, "b": None, "c": True}),
    ],
)
def test_rules_decide_the_claims(changed, verdicts):
    assert {claim.letter: claim.holds for claim in check_claims(score_rows(**changed), PARAMETERS)} == verdicts


def test_claims_about_missing_sources_are_undecided():
    others = [{**row, "source": "one"} for row in score_rows()]
    assert [claim.holds for claim in check_claims(others, PARAMETERS)] == [None, None, True]


def test_sdr_is_relative_to_the_mixture_and_sar_is_absolute():
    assert improvement(score_rows(), "fnn", "drums", "sdr") == pytest.approx(dict.fromkeys("01234567", 4.0))
    assert set(improvement(score_rows(), "fnn", "drums", "sar").values()) == {9.0}


def test_layer_table_is_table_1_of_the_paper():
    text = "\n".join(layer_table())
    for line in ("| max-pooling (3, 5) | 5 x 205 x 12 | |", "| 3 x 3 convolution, 40 | 5 x 41 x 40 | 10,840 |"):
        assert line in text
    assert layer_table()[-1] == "| 3 x 3 convolution, 1 | 15 x 1025 x 1 | 109 |"
    counts = [line.split("|")[3].strip().replace(",", "") for line in layer_table()[2:]]
    assert sum(int(count) for count in counts if count) == PARAMETERS["cdae"]


def test_synthetic_songs_are_reproducible_and_have_plausible_sources():
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


def test_silent_sources_are_listed_and_omitted(noises):
    noises["b"][:] = 0
    piece = Piece("song", noises["a"] + noises["c"], noises)
    rows, silent = scores("songs", [piece], {}, RATE)
    assert silent == ["b of song"] and [row["source"] for row in rows] == ["a", "c"]
    assert all(abs(row["sdr_db"]) < 1.5 and row["sar_db"] > 50 for row in rows)
    text = claims_markdown(check_claims(rows, PARAMETERS), ["A condition."], rows, silent, PARAMETERS)
    assert "Silent sources, which are omitted: b of song." in text and "| FNN | 4,206,600 |" in text


def write_songs(folder, names, seconds=1.0):
    for number, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for source, samples in synthesis.song(1, number, seconds, RATE).items():
            soundfile.write(folder / name / f"{source}.wav", np.stack([samples, samples], 1), RATE)


def test_training_songs_are_those_in_train_or_the_first_half(tmp_path):
    write_songs(tmp_path / "musdb", ["train/a", "train/b", "test/c"])
    write_songs(tmp_path / "plain", ["a", "b", "c"])
    (musdb,), (plain,) = load(tmp_path / "musdb"), load(tmp_path / "plain", seconds=0.5)
    assert [[p.name for p in part] for part in (musdb.training, musdb.test)] == [["train/a", "train/b"], ["test/c"]]
    assert [[p.name for p in part] for part in (plain.training, plain.test)] == [["a", "b"], ["c"]]
    assert len(musdb.test[0].mixture) == 44100 and len(plain.test[0].mixture) == 22050
    assert {s.epochs for s in musdb.settings.values()} == {s.batch for s in musdb.settings.values()} == {100}
    write_songs(tmp_path / "one", ["a"])
    with pytest.raises(UserError, match="has one song; give two or more"):
        load(tmp_path / "one")


def test_project_recordings_add_two_speakers_to_synthetic_songs():
    if not (DATA / "separation").is_dir():
        pytest.skip("no ../shared/data/separation")
    synthetic, speakers = load(DATA, seconds=0.5)
    assert synthetic.sources == synthesis.SOURCES and speakers.sources == ("source1", "source2")
    assert "Synthetic songs" in synthetic.description and "claims do not depend on it" in speakers.description


@pytest.fixture
def small(monkeypatch):
    """Use windows of 48 samples at 8 kHz."""

    def load_small(*arguments):
        (dataset,) = load(*arguments)
        settings = {name: replace(s, rate=8000, n_fft=48, hop=12) for name, s in dataset.settings.items()}
        return [replace(dataset, settings=settings)]

    monkeypatch.setattr(experiment, "load", load_small)


def test_run_writes_table_figures_claims_and_models(tmp_path, small):
    pytest.importorskip("fast_bss_eval")
    write_songs(tmp_path / "songs", ["train/a", "test/b"])
    result = experiment.run(tmp_path / "out", tmp_path / "songs", epochs=1, seconds=0.8, backend="eager")
    text = (tmp_path / "out" / "claims.md").read_text()
    with open(tmp_path / "out" / "results.csv") as file:
        table = list(csv.DictReader(file))
    assert len(table) % 3 == 0 and {row["method"] for row in table} == {"mixture", "fnn", "cdae"}
    assert result["claims"][1]["holds"] is None and "**undecided**" in text
    assert "Songs in songs: 1 song, 1 s in total for training" in text and "the first 0.8 s of each" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.csv", "boxplots.png", "boxplots.svg", "claims.md"),
        *("songs.cdae.safetensors", "songs.fnn.safetensors"),
    }
