"""The experiment of Kim & Smaragdis 2015: recordings, scores, rules of the claims, and a whole run."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from partae_fast.cli import main
from partae_fast.errors import UserError
from partae_fast.experiments.kim2015 import experiment
from partae_fast.experiments.kim2015.claims import check_claims
from partae_fast.experiments.kim2015.data import load, load_singing
from partae_fast.experiments.kim2015.scores import ADAPTED, MEASURES, SPEECH, adapted_scores, baseline_scores, curve
from partae_fast.metrics import bss
from partae_fast.models.adaptive_dae import GRADIENTS, HELD

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 8000


def voice(number, seconds=0.3):
    time = np.arange(round(seconds * RATE)) / RATE
    harmonics = sum(np.sin(2 * np.pi * (110 + 10 * number) * k * time) / k for k in range(1, 8))
    return 0.1 * harmonics * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time + number))


def hiss(number, seconds=0.4):
    noise = np.random.default_rng(number).normal(0, 0.1, round(seconds * RATE))
    return np.convolve(noise, np.ones(1 + number), "same")


def write(path, samples, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE, **options)


@pytest.fixture
def tree(tmp_path):
    for kind, name in enumerate(("fan", "hum", "rain", "street")):
        write(tmp_path / "noise" / name / "a.wav", hiss(kind))
    return tmp_path


def with_speakers(tree):
    for number in range(8):
        write(tree / "clean" / f"speaker{number // 2}" / f"{number}.wav", voice(number))
    return tree


def test_last_speakers_and_last_kinds_of_noise_are_for_tests(tree):
    recordings = load(with_speakers(tree))
    assert (recordings.rate, recordings.n_fft, recordings.spectrogram.hop) == (RATE, 512, 128)
    assert len(recordings.voices) == 6 and list(recordings.noises) == ["fan", "hum"]
    assert recordings.test_kinds == ["rain", "street"]
    assert [(pair.voice_name, pair.noise_kind) for pair in recordings.test_pairs] == [
        ("speaker3", "rain"),
        ("speaker3", "street"),
    ]
    pair = recordings.test_pairs[0]
    both = np.concatenate([voice(6) / voice(6).std(), voice(7) / voice(7).std()])
    assert np.corrcoef(pair.voice, both)[0, 1] > 0.999
    mixture, noise = pair.mix(-5.0)
    np.testing.assert_allclose(mixture, pair.voice + noise)
    assert 10 * np.log10(np.mean(pair.voice**2) / np.mean(noise**2)) == pytest.approx(-5.0, abs=1e-3)
    assert not recordings.small


@pytest.mark.parametrize("parent", ["clean", ""])
def test_women_of_timit_are_read(tree, parent):
    women = {"TRAIN": [f"F{number:02d}X0" for number in range(12)], "TEST": [f"F{number:02d}Y0" for number in range(7)]}
    for part, names in women.items():
        for number, speaker in enumerate([*names, "MDAB0"]):
            path = tree / parent / part / f"DR{number % 8 + 1}" / speaker / "SA1.WAV"
            write(path, voice(number), format="NIST", subtype="PCM_16")
            assert path.read_bytes()[:7] == b"NIST_1A"
    recordings = load(tree)
    assert len(recordings.voices) == 10
    test_voices = {pair.voice_name for pair in recordings.test_pairs}
    assert len(test_voices) == 5 and test_voices < set(women["TEST"])


def test_timit_without_women_is_rejected(tree):
    for part in ("TRAIN", "TEST"):
        write(tree / part / "DR1" / "MDAB0" / "SA1.WAV", voice(0), format="NIST", subtype="PCM_16")
    with pytest.raises(UserError, match="TRAIN: has no speaker whose name starts with F"):
        load(tree)


def with_singers(folder, count):
    """Write two clips of each singer."""
    for number in range(2 * count):
        stereo = np.stack([hiss(number, 0.3), voice(number)], axis=1)
        write(folder / "Wavfile" / f"singer{number // 2}_{number}_01.wav", stereo)
    return folder


def test_first_two_singers_are_for_training_and_all_clips_of_the_others_for_tests(tmp_path):
    recordings = load_singing(with_singers(tmp_path, 4))
    names = [f"singer{number // 2}_{number}_01" for number in range(4, 8)]
    assert [(pair.voice_name, pair.noise_kind) for pair in recordings.test_pairs] == [(name, "music") for name in names]
    assert len(recordings.voices) == 4 and list(recordings.noises) == ["singer0", "singer1"]
    pair = recordings.test_pairs[0]
    assert np.corrcoef(pair.voice, voice(4))[0, 1] > 0.999 and np.corrcoef(pair.noise, hiss(4, 0.3))[0, 1] > 0.999
    assert [pair.voice_name for pair in load_singing(tmp_path, clips=2).test_pairs] == [names[0], names[2]]


def test_two_singers_are_too_few(tmp_path):
    with pytest.raises(UserError, match="of 2 singers; give 3 or more, because 2 are for training"):
        load_singing(with_singers(tmp_path, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: None, "clean/"),
        (lambda tree: write(tree / "clean" / "one" / "a.wav", voice(0)), "only one speaker"),
        (lambda tree: write(with_speakers(tree) / "clean" / "mute" / "a.wav", 0 * voice(0)), "silent"),
    ],
)
def test_unsuitable_folders_are_rejected(tree, change, message):
    change(tree)
    with pytest.raises(UserError, match=message):
        load(tree)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/data")
def test_project_recordings_are_recognised():
    recordings = load(SHARED)
    assert recordings.small and recordings.test_kinds == ["machine", "traffic", "wind", "crowd"]
    assert list(recordings.noises) == ["ambient", "cafe", "diffuse"]
    assert len(recordings.voices) == 31  # digits of three speakers and a sentence of another
    assert {pair.voice_name for pair in recordings.test_pairs} == {"nicolas", "p287"}


def score_rows(sir, sar, sdr, noises=("rain", "wind")):
    """Return rows of two tests with these measures at epochs 0, 10, 20 and 30 in every panel; they settle at 10."""
    rows = []
    for panel in SPEECH:
        for gradient in GRADIENTS:
            for noise in noises:
                for index, epoch in enumerate((0, 10, 20, 30)):
                    # SDR changes twice as much in panel d, and half as much with U held.
                    factor = (2 if panel == SPEECH[-1] else 1) * (0.5 if gradient == HELD else 1)
                    scaled_sdr = sdr[0] + factor * (sdr[index] - sdr[0])
                    key = {"panel": panel.letter, "voice": "v", "noise": noise, "method": ADAPTED[gradient]}
                    measures = {"sir": sir[index], "sar": sar[index], "sdr": scaled_sdr}
                    rows.append({"seed": 0, **key, "epoch": epoch, "settled": epoch == 10, **measures})
    return rows


@pytest.mark.parametrize(
    ("sir", "sar", "sdr", "holding"),
    [
        ((5, 8, 9, 9), (9, 8, 7, 6), (3, 5, 4, 4), "abcd"),
        ((5, 8, 9, 2), (9, 8, 7, 2), (3, 5, 4, 1), "abcd"),  # adapted too far after 20 epochs
        ((5, 5.5, 5.9, 9), (9, 8, 8.5, 8), (3, 3.05, 2, 2), "bd"),  # SIR rises late, and SDR peaks too little
        ((5, 8, 9, 9), (9, 8, 4, 3), (3, 2.8, 2, 1), "a"),  # SAR falls faster; SDR only falls
        ((5, 8, 9, 9), (9, 8, 9.5, 8), (3, 4, 5, 6), "ad"),  # SAR rises; SDR has no peak
    ],
)
def test_rules_decide_the_claims(sir, sar, sdr, holding):
    claims = check_claims(score_rows(sir, sar, sdr))
    assert [claim.letter for claim in claims] == list("abcd")
    assert "".join(claim.letter for claim in claims if claim.holds) == holding


def test_claims_have_intervals_over_tests():
    rows = score_rows((5, 8, 9, 9), (9, 8, 7, 6), (3, 5, 4, 4))
    for row in rows:
        row["sir"] += (row["noise"] == "wind") * (row["epoch"] == 20)
    assert check_claims(rows)[0].figures.startswith("(a) +0 dB, one frame +4.50 [+4.00, +5.00] dB; (b)")


def test_curve_omits_epochs_at_which_a_test_was_not_measured():
    rows = score_rows((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4))
    rows[0] = rows[0] | {"epoch": 3}
    assert list(curve(rows, SPEECH[0], "sir", HELD)) == [10, 20, 30]


@pytest.fixture
def small_tree(tree, monkeypatch):
    """Return a folder with one test, of one speaker in one noise, and shorten NMF."""
    for number in range(2):
        write(tree / "clean" / f"speaker{number}" / "a.wav", voice(number))
    for kind in ("hum", "street"):
        (tree / "noise" / kind / "a.wav").unlink()
        (tree / "noise" / kind).rmdir()
    monkeypatch.setattr("partae_fast.experiments.kim2015.scores.ITERATIONS", 2)
    return tree


def test_baselines_are_the_mixture_and_nmf(small_tree):
    recordings = load(small_tree)
    rows = list(baseline_scores(recordings, SPEECH, seed=0))
    assert {row["panel"] for row in rows} == {"a", "b", "c", "d"} and len({row["method"] for row in rows}) == 5
    pair = recordings.test_pairs[0]
    mixture, noise = pair.mix(-5.0)
    row = next(r for r in rows if (r["panel"], r["voice"], r["noise"]) == ("c", "speaker1", "rain"))
    assert tuple(row[m] for m in MEASURES) == pytest.approx(bss(pair.voice, noise, mixture), abs=1e-6)


def test_run_writes_table_figure_and_claims(small_tree, capsys):
    for number in range(3):
        write(small_tree / "singing" / f"singer{number}_1.wav", np.stack([hiss(number, 0.3), voice(number)], axis=1))
    sizes = ["--hidden", "4", "--steps", "2", "--epochs", "2", "--learning-rate", "1e-6", "-q"]
    out = small_tree / "out"
    paths = ["--data", str(small_tree), "--singing", str(small_tree / "singing"), "--out", str(out)]
    assert main(["reproduce", "kim2015", *paths, *sizes]) == 0
    printed = capsys.readouterr().out
    assert "(d) SDR gains most" in printed and "(e) Adaptation" not in printed
    settings = yaml.safe_load((out / "settings.yaml").read_text())["settings"]
    sizes = {"hidden": 4, "steps": 2, "learning_rate": 1e-6, "epochs": 2, "adapting_rate": 1e-6}
    assert settings == {"clips": None, "tests": None, **sizes, "seeds": 1, "seed": 0}
    with (out / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["panel"] for row in rows} == set("abcde") and {row["seed"] for row in rows} == {"0"}
    for panel in "abcde":
        adapted = [row for row in rows if row["panel"] == panel and row["method"] == ADAPTED[HELD]]
        assert sum(row["settled"] == "True" for row in adapted) == sum(row["epoch"] == "2" for row in adapted) == 1
    text = (out / "claims.md").read_text()
    assert "3 hidden layers of 4 units" in text and "(e) +0 dB, 3 frames" in text and "| d |" in text
    assert (out / "figure3.png").stat().st_size > 10000


def test_interrupted_run_resumes_and_covers_two_seeds(small_tree, monkeypatch):
    sizes = {"hidden": 4, "steps": 2, "epochs": 1, "learning_rate": 1e-6, "progress": False}
    whole = experiment.run(small_tree / "whole", small_tree, seeds=2, **sizes)
    assert "seeds 0 to 1" in whole["conditions"]["speech networks"]
    table = (small_tree / "whole" / "results.csv").read_text()
    assert {row["seed"] for row in csv.DictReader(table.splitlines())} == {"0", "1"}

    def stop_at_panel_c(recordings, model, panel, *rest):
        if panel.letter == "c":
            raise KeyboardInterrupt
        return adapted_scores(recordings, model, panel, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(experiment, "adapted_scores", stop_at_panel_c)
        experiment.run(small_tree / "out", small_tree, seeds=2, **sizes)
    with pytest.raises(UserError, match="contains an earlier run; continue it with --resume"):
        experiment.run(small_tree / "out", small_tree, seeds=2, **sizes)
    with pytest.raises(UserError, match=r"seed0.json: has other settings"):
        experiment.run(small_tree / "out", small_tree, seeds=2, **{**sizes, "epochs": 3}, resume=True)
    calls = []
    monkeypatch.setattr(
        experiment, "adapted_scores", lambda *args: calls.append(args[2].letter) or adapted_scores(*args)
    )
    experiment.run(small_tree / "out", small_tree, seeds=2, **sizes, resume=True)
    assert "".join(calls) == "cbdacbd"  # panels with one frame come first; a of the first seed is not repeated
    assert (small_tree / "out" / "results.csv").read_text() == table


def test_few_tests_use_all_voices_and_noises(tree):
    for number in range(20):
        write(tree / "clean" / f"speaker{number // 2}" / f"{number}.wav", voice(number))
    pairs = [(pair.voice_name, pair.noise_kind) for pair in load(tree, tests=4).test_pairs]
    assert len(set(pairs)) == 4
    assert {kind for _, kind in pairs} == {"rain", "street"} and len({name for name, _ in pairs}) == 3
    assert len(load(tree).test_pairs) == 6


def test_without_data_the_run_is_small_and_in_the_corpora(small_tree, monkeypatch, capsys):
    monkeypatch.setenv("PARTAE_CORPORA", str(small_tree / "corpora"))
    assert main(["reproduce", "kim2015", "--out", str(small_tree / "out")]) == 2
    assert "no recordings; give --data, or make the corpora" in capsys.readouterr().err
    (small_tree / "corpora").mkdir()
    (small_tree / "corpora" / "kim2015").symlink_to(small_tree)
    sizes = ["--steps", "2", "--epochs", "1", "-q"]
    assert main(["reproduce", "kim2015", "--out", str(small_tree / "out"), *sizes]) == 0
    settings = yaml.safe_load((small_tree / "out" / "settings.yaml").read_text())["settings"]
    assert (settings["hidden"], settings["tests"], settings["learning_rate"]) == (512, 8, 1e-6)
