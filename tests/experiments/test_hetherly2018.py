"""The experiment of Hetherly et al. 2018: recordings, scores, rules of the claims, and a whole run."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.experiments.hetherly2018 import claims, data, experiment, models, scores
from partae_fast.experiments.hetherly2018.models import METHODS
from partae_fast.systems.mixing import MixtureSettings

RATE = 10000


def write(path, seconds, frequency):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = 0.1 * np.sin(2 * np.pi * frequency * time) * (np.sin(2 * np.pi * 3 * time) > 0)
    files.write(path, samples.astype(np.float32), RATE, "FLOAT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder of four voices and four noises, all of them tones."""
    top = tmp_path_factory.mktemp("material")
    for number, name in enumerate("abcd"):
        write(top / "speech" / f"voice {name}" / "one.wav", 1.0, 300 + 100 * number)
        write(top / "speech" / f"voice {name}" / "two.wav", 1.0, 350 + 100 * number)
        write(top / "noise" / f"noise {name}" / "one.wav", 2.0, 2000 + 400 * number)
        if name == "a":
            for file in ("three", "two"):
                write(top / "noise" / "noise a" / f"{file}.wav", 1.0, 2100)
    return top


@pytest.fixture(scope="module")
def reproduced(folder, tmp_path_factory):
    """Return the output folder and the printed JSON of a run of two steps of tiny networks, and a resumed run."""
    pytest.importorskip("sklearn")
    pytest.importorskip("fast_bss_eval")
    out = tmp_path_factory.mktemp("out") / "voices"
    tiny = models.Hyperparameters(1, 3, 2, filters=1, patch=8, dae_batch=2, bases=2, iterations=2, batch=2)
    arguments = ["--data", folder, "--out", out, "--steps", 2, "--mixtures", 3, "--seeds", 2, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "PAPER", tiny)
        patch.setattr(experiment, "MixtureSettings", lambda: MixtureSettings(seconds=0.5, n_fft=64, hop=32))
        assert cli.main(["reproduce", "hetherly2018", *map(str, arguments)]) == 0
        with pytest.raises(UserError, match="models: contains an earlier run"):
            experiment.run(out, folder, steps=2, mixtures=3, seeds=2)
        patch.setattr(experiment, "train", None)  # all models are loaded
        resumed = experiment.run(out, folder, steps=2, mixtures=3, seeds=2, resume=True, progress=False)
    return out, json.loads(printed.getvalue()), resumed


def test_run_writes_table_figures_and_claims(reproduced):
    out, result, resumed = reproduced
    assert {path.name for path in out.iterdir()} == {
        *("models", "results.csv", "figure.png", "figure.svg", "claims.md", "settings.yaml")
    }
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3 * len(METHODS)
    by_seed = [[row for row in rows if row["seed"] == str(seed)] for seed in (0, 1)]
    assert [[row["snr_db"] for row in part] for part in by_seed] == 2 * [[row["snr_db"] for row in by_seed[0]]]
    assert [row["sdr_db"] for row in by_seed[0]] != [row["sdr_db"] for row in by_seed[1]]
    assert {row["noise"] for row in rows} <= {f"noise {name}" for name in "abcd"}
    text = (out / "claims.md").read_text()
    assert "DAE-30 minus SCE+MI, masks, which the paper does not compare: in-set " in text
    assert all(-5.01 <= float(row["snr_db"]) <= 5.01 for row in rows)
    assert [claim["letter"] for claim in result["claims"]] == list("abcdef")
    assert resumed["claims"] == result["claims"]


def test_training_and_test_recordings_are_disjoint(folder):
    recordings = data.load(folder, RATE, 1000)
    assert list(recordings.voices) == list(recordings.in_set[0]) == ["voice a", "voice b", "voice c"]
    assert list(recordings.out_of_set[0]) == ["voice d"]
    noises = [f"noise {name}" for name in "abcd"]
    assert all(list(part) == noises for part in (recordings.noises, recordings.in_set[1], recordings.out_of_set[1]))
    training, test = recordings.voices["voice a"][0], recordings.in_set[0]["voice a"][0]
    assert pitch(training) == pytest.approx(300, abs=2) and pitch(test) == pytest.approx(350, abs=2)  # other files
    np.testing.assert_allclose(np.sqrt(np.mean(training**2)), 1, rtol=1e-3)
    training, test = recordings.noises["noise a"][0], recordings.in_set[1]["noise a"][0]
    assert (len(training), len(test)) == (3 * RATE, RATE)
    training, test = recordings.noises["noise b"][0], recordings.in_set[1]["noise b"][0]  # a single file
    assert len(training) + len(test) == 2 * RATE and len(test) == round(0.3 * 2 * RATE)
    with pytest.raises(UserError, match=r"speech: no source has 1.5 s for training"):
        data.load(folder, RATE, round(1.5 * RATE))
    with pytest.raises(UserError, match="no such folder; DATA needs speech/ and noise/"):
        data.load(folder / "speech", RATE, 1000)


def test_librispeech_and_urbansound8k_are_read_as_published(tmp_path):
    for speaker in ("19", "26", "27", "32"):
        write(tmp_path / "speech" / "train-clean-100" / speaker / "198" / f"{speaker}-198-0000.flac", 1.0, 300)
        write(tmp_path / "speech" / "train-clean-100" / speaker / "227" / f"{speaker}-227-0000.flac", 1.0, 350)
    rows = [("a.wav", 1, "siren"), ("b.wav", 2, "siren"), ("c.wav", 2, "drilling"), ("d.wav", 3, "drilling")]
    for number, (name, fold, _) in enumerate(rows):
        write(tmp_path / "noise" / "audio" / f"fold{fold}" / name, 1.0, 2000 + 100 * number)
    (tmp_path / "noise" / "metadata").mkdir()
    table = "slice_file_name,fsID,fold,class\n" + "".join(f"{name},7,{fold},{kind}\n" for name, fold, kind in rows)
    (tmp_path / "noise" / "metadata" / "UrbanSound8K.csv").write_text(table)
    recordings = data.load(tmp_path, RATE, 1000)
    assert (list(recordings.voices), list(recordings.out_of_set[0])) == (["19", "26", "27"], ["32"])
    assert list(recordings.noises) == ["siren", "drilling"]
    assert pitch(recordings.noises["siren"][0]) == pytest.approx(2000, abs=2)
    assert pitch(recordings.in_set[1]["siren"][0]) == pytest.approx(2100, abs=2)  # another file


def pitch(samples):
    return np.argmax(np.abs(np.fft.rfft(samples))) * RATE / len(samples)


def test_half_of_the_noises_are_stationary():
    time, random = np.arange(RATE) / RATE, np.random.default_rng(0)
    noises = {
        name: [(1 + depth * np.sin(2 * np.pi * 2 * time)) * random.normal(size=RATE)]
        for name, depth in (("street", 0.9), ("fan", 0.0), ("dog", 0.99), ("rain", 0.3), ("siren", 0.8))
    }
    assert data._stationary(noises, RATE) == ("fan", "rain")


def test_project_recordings_are_recognised(shared_data):
    recordings = data.load(shared_data("noise/cafe.flac").parents[1], RATE, RATE)
    assert recordings.small and list(recordings.voices) == ["george", "jackson", "lucas"]
    assert list(recordings.out_of_set[0]) == ["nicolas"]
    assert set(recordings.noises) == set(data._NOISES)
    assert set(recordings.in_set[1]) == set(recordings.out_of_set[1]) < set(recordings.noises)


def score_rows(gains, slopes=(-0.3, -0.3), hum=0.5):
    """Return rows of two mixtures per noise, method and set, at -2 and 2 dB.

    gains: of each method, of both sets or by set. slopes: of the gain over the SNR, by set. hum: gain in hum over that
    in rain, of all methods or by name.
    """
    rows = []
    for method, gain in gains.items():
        means = gain if isinstance(gain, tuple) else (gain, gain)
        for test_set, mean, slope in zip(scores.SETS, means, slopes, strict=True):
            for noise, sign in (("rain", -0.5), ("hum", 0.5)):
                for snr in (-2.0, 2.0):
                    more = sign * (hum.get(method, 0.5) if isinstance(hum, dict) else hum)
                    key = {"method": method, "set": test_set, "noise": noise, "snr_db": snr, "sdr_in_db": snr}
                    key |= {"seed": 0, "mixture": (noise, snr)}
                    rows.append(key | {"sdr_db": snr + mean + more + slope * snr})
    return rows


GAINS = {"SNMF": 2, "DAE-30": 6, "SCE, clusters": 8, "SCE+MI, clusters": 6, "SCE+MI, masks": 9}
GAINS |= {"DC+MI, clusters": 5, "DC+MI, masks": 8.5}


@pytest.mark.parametrize(
    ("broken", "changes", "options"),
    [
        ("", {}, {}),
        ("a", {"DC+MI, masks": (8.5, 7.5)}, {}),
        ("b", {"SCE+MI, clusters": (6, 8.5)}, {}),
        ("c", {"DAE-30": (6, 1)}, {}),
        ("c", {"SNMF": 8.2}, {}),
        ("d", {}, {"slopes": (-0.3, 0.1)}),  # the slope of both sets together falls
        ("e", {}, {"hum": {"SCE+MI, masks": -0.1}}),
        ("f", {}, {"hum": {"SNMF": -0.1}}),
    ],
)
def test_each_claim_can_fail(broken, changes, options):
    checked = claims.check_claims(score_rows(GAINS | changes, **options), small=False, stationary=["hum"])
    assert "".join(claim.letter for claim in checked) == "abcdef"
    assert {claim.letter for claim in checked if not claim.holds} == set(broken)


def test_figures_have_intervals_by_set():
    rows = score_rows(GAINS | {"DC+MI, masks": (8.5, 8.0)})
    for row in rows:
        row["sdr_db"] += 0.4 * (row["method"] == "DC+MI, masks") * (row["noise"] == "hum")
    on_par, *_, slopes = claims.check_claims(rows, small=False, stationary=["hum"])[:4]
    assert "in-set: SCE+MI, masks 9.0, DC+MI, masks 8.7, SCE+MI, masks minus DC+MI, masks +0.3 [+0.1, +0.5]" in (
        on_par.figures
    )
    assert "out-of-set: SCE, clusters -0.30 [" in slopes.figures


def test_intervals_are_over_mixtures_and_seeds():
    rows = score_rows(GAINS | {"DC+MI, masks": (8.5, 8.0)})
    other_seed = [row | {"seed": 1, "sdr_db": row["sdr_db"] + (row["method"] == "SCE+MI, masks")} for row in rows]
    assert claims.gains(rows + other_seed, "SCE+MI, masks", "in-set").shape == (2, 4)
    text = claims.difference_text(rows + other_seed, "SCE+MI, masks", "DC+MI, masks", "in-set")
    assert text == "+1.0 [+0.5, +1.5]"  # +0.5 with one seed and +1.5 with the other, in every mixture


def test_without_data_the_run_is_small_and_in_the_corpora(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PARTAE_CORPORA", str(tmp_path))
    assert cli.main(["reproduce", "hetherly2018", "--out", str(tmp_path / "out")]) == 2
    assert "no recordings; give --data, or make the corpora" in capsys.readouterr().err
    (tmp_path / "hetherly2018").symlink_to(folder)
    used = []

    def stop(name, recordings, mixing, hyperparameters, steps, options):
        used.append((hyperparameters, steps, recordings.small, mixing.seconds))
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "train", stop)
    monkeypatch.setattr(experiment, "MixtureSettings", lambda: MixtureSettings(seconds=1.0, n_fft=64, hop=32))
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "out", progress=False)
    assert used == [(models.SMALL, experiment.SMALL_STEPS, True, 0.5)]
    with pytest.raises(KeyboardInterrupt):
        experiment.run(tmp_path / "full", folder, small_dae=True, progress=False)
    full, *others = used[1]
    assert others == [20000, False, 1.0] and (full.filters, full.patch, full.hidden) == (16, 64, 250)


def test_noises_of_one_kind_leave_stationarity_undecided():
    checked = claims.check_claims(score_rows(GAINS), small=False)
    assert [claim.holds for claim in checked[-2:]] == [None, None]


def test_small_dae_30_is_left_out_of_claim_c():
    claim = claims.check_claims(score_rows(GAINS | {"DAE-30": 1}), small=True)[2]
    assert claim.holds and "DAE-30 is left out" in claim.rule


def test_sparse_nmf_has_the_frames_of_the_authors_program():
    assert models.PAPER.snmf_frames == round(5000 * 2 * 10000 / 256) and models.SMALL.snmf_frames == 20000


def test_the_cluster_closer_to_the_voice_is_chosen():
    class TwoBands:
        spectrogram = MixtureSettings(n_fft=64, hop=32).spectrogram

        def clusters(self, x, count):
            return (x.new_tensor(range(33)) < 10).long().expand(x.shape)

    time = np.arange(4000) / RATE
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (500, 3500))
    for voice in (low, high):
        estimate = scores.cluster_estimator(TwoBands())(low + high, voice)
        assert np.mean((estimate - voice) ** 2) < 0.05 * np.mean(voice**2)
