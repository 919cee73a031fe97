"""The experiment of Grais & Plumbley 2017: datasets, scores, rules of the claims, and a whole run."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from partae_fast.errors import UserError
from partae_fast.experiments.grais2017 import data, experiment, synthesis
from partae_fast.experiments.grais2017.claims import check_claims
from partae_fast.experiments.grais2017.data import load
from partae_fast.experiments.grais2017.markdown import claims_markdown, layer_table
from partae_fast.experiments.grais2017.scores import improvement, scores
from partae_fast.systems.cdae import Piece

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
PARAMETERS = {"fnn": 4_206_600, "cdae": 37_101}
RATE = 16000


def score_rows(drums=1.0, vocals=0.1, bass=-0.1, other=0.2, sir=0.0, sar=1.0, fnn=4.0, count=8):
    """Return rows in which the CDAE has these gains over the FNN, 0.01 dB more with each song, at -5 dB.

    sir is the gain of SIR over that of SDR, sar the gain of SAR of the drums.
    """
    rows = []
    for song in range(count):
        for source, gain in {"drums": drums, "vocals": vocals, "bass": bass, "other": other}.items():
            for method, improved in {"mixture": 0.0, "fnn": fnn, "cdae": fnn + gain + 0.01 * song}.items():
                of_cdae = method == "cdae"
                ratios = {
                    "sdr_db": improved - 5,
                    "sir_db": improved - 5 + sir * of_cdae,
                    "sar_db": 60.0 if method == "mixture" else 9.0 + (sar + 0.01 * song) * of_cdae,
                }
                seed = None if method == "mixture" else 0
                rows.append(
                    {"seed": seed, "task": "songs", "song": f"{song}", "source": source, "method": method, **ratios}
                )
    return rows


@pytest.mark.parametrize(
    ("changed", "failing"),
    [
        ({}, ""),
        ({"vocals": -1.5}, "a"),
        ({"bass": 1.5}, "a"),
        ({"drums": -1.0, "sir": 2.0}, "b"),
        ({"drums": -0.035, "sir": 2.0}, "b"),  # above 0 in half of the songs
        ({"sir": -2.0}, "d"),
        ({"sar": -1.0}, "d"),
        ({"other": -1.2}, "e"),
        ({"fnn": -0.05}, "f"),  # the FNN is worse than the mixture
        ({"bass": -0.9, "fnn": 0.5}, "f"),  # the CDAE is on the bass
    ],
)
def test_rules_decide_the_claims(changed, failing):
    claims = check_claims(score_rows(**changed), PARAMETERS)
    assert "".join(claim.letter for claim in claims) == "abcdef"
    assert "".join(claim.letter for claim in claims if not claim.holds) == failing


def test_five_songs_are_too_few_to_compare_drums():
    verdicts = {claim.letter: claim.holds for claim in check_claims(score_rows(count=5), PARAMETERS)}
    assert verdicts == {"a": True, "b": None, "c": True, "d": None, "e": True, "f": True}


def test_claims_about_missing_sources_are_undecided():
    others = [{**row, "source": "one"} for row in score_rows()]
    assert [claim.holds for claim in check_claims(others, PARAMETERS)] == [None, None, True, None, None, True]
    assert check_claims(score_rows(), PARAMETERS)[0].figures.startswith("vocals +0.13 [+0.10, +0.17] dB (from +0.10")


def test_sdr_is_relative_to_the_mixture_and_sar_is_absolute():
    assert improvement(score_rows(), "fnn", "drums", "sdr") == pytest.approx(dict.fromkeys("01234567", 4.0))
    assert set(improvement(score_rows(), "fnn", "drums", "sar").values()) == {9.0}


def test_both_networks_have_the_same_batches_and_steps(tmp_path):
    (synthetic,) = load(None, seconds=0.5)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for source in synthesis.SOURCES:
            noise = np.random.default_rng(0).normal(0, 0.1, 12 * RATE)
            soundfile.write(tmp_path / name / f"{source}.wav", noise, RATE)
    (recorded,) = load(tmp_path)
    for dataset in (synthetic, recorded):
        fnn, cdae = dataset.settings["fnn"], dataset.settings["cdae"]
        assert replace(fnn, network="cdae") == cdae and cdae.batch == 100 and cdae.epoch_steps
    assert recorded.settings["fnn"].epoch_steps == 1  # 28 segments of 15 frames
    (recorded,) = load(tmp_path, batch=10)
    assert recorded.settings["fnn"].epoch_steps == 3


def test_values_of_a_song_are_means_over_the_seeds():
    rows = score_rows(drums=1.0)
    other_seed = [row | {"seed": 1, "sdr_db": row["sdr_db"] + 1.0} for row in score_rows(drums=2.0) if row["seed"] == 0]
    assert improvement(rows + other_seed, "fnn", "drums", "sdr")["0"] == pytest.approx(4.5)
    drums = check_claims(rows + other_seed, PARAMETERS)[1]
    assert "drums SDR +1.54 [+1.50, +1.57] dB" in drums.figures and drums.figures.endswith("; seeds +1.04, +2.04")
    assert "seeds" not in check_claims(rows, PARAMETERS)[1].figures


def test_without_data_songs_are_those_of_the_corpora(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTAE_CORPORA", str(tmp_path))
    write_songs(tmp_path / "grais2017", [f"{part}/{name}" for part in ("train", "test") for name in "abc"])
    monkeypatch.setattr(data, "RECORDED_SONGS", 2)
    used = []

    def stop(excerpts, settings, options):
        used.append((settings.epochs, settings.epoch_steps, settings.batch))
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "fit_excerpts", stop)
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "new" / "out")
    assert used == [(data.SMALL_EPOCHS, data.SMALL_EPOCH_STEPS, 100)]
    (songs,) = load(tmp_path / "grais2017", seconds=0.5, small=True)
    assert [[p.name for p in part] for part in (songs.training, songs.test)] == [
        ["train/a", "train/b"],
        ["test/a", "test/b"],
    ]
    (one,) = load(tmp_path / "grais2017", count=1)
    assert (len(one.training), len(one.test), one.settings["fnn"].epochs) == (1, 1, 100)
    whole = load(tmp_path / "grais2017")[0].training[0].mixture
    middle = len(whole) // 2
    np.testing.assert_array_equal(songs.training[0].mixture, whole[middle - 11025 : middle + 11025])
    (tmp_path / "grais2017").rename(tmp_path / "elsewhere")
    used.clear()
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "out", seconds=0.5)
    assert used  # on synthetic songs


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

    assert centroid(first["bass"]) < 200 < min(centroid(first["vocals"]), centroid(first["other"]))


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
    sizes = {"epochs": 1, "batch": 10, "seconds": 0.5, "seeds": 2}
    result = experiment.run(tmp_path / "out", tmp_path / "songs", **sizes, backend="eager")
    text = (tmp_path / "out" / "claims.md").read_text()
    with open(tmp_path / "out" / "results.csv") as file:
        table = list(csv.DictReader(file))
    methods = [(row["method"], row["seed"]) for row in table]
    assert {methods.count(key) for key in methods} == {len(synthesis.SOURCES)} and len(set(methods)) == 5
    assert ("mixture", "") in methods and ("cdae", "1") in methods
    assert result["claims"][1]["holds"] is None and "**undecided**" in text
    assert "Songs in songs: 1 song, 0 s in total for training" in text and "the middle 0.5 s of each" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.csv", "boxplots.png", "boxplots.svg", "claims.md", "settings.yaml"),
        *(f"songs.{network}.seed{seed}.safetensors" for network in ("cdae", "fnn") for seed in (0, 1)),
    }
