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
    return top


@pytest.fixture(scope="module")
def reproduced(folder, tmp_path_factory):
    """Return the output folder and the printed JSON of a run of two steps of tiny networks, and a resumed run."""
    pytest.importorskip("sklearn")
    pytest.importorskip("fast_bss_eval")
    out = tmp_path_factory.mktemp("out") / "voices"
    tiny = models.Hyperparameters(1, 3, 2, filters=1, patch=8, dae_batch=2, bases=2, iterations=2, batch=2)
    arguments = ["--data", folder, "--out", out, "--steps", 2, "--mixtures", 3, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "PAPER", tiny)
        patch.setattr(experiment, "MixtureSettings", lambda: MixtureSettings(seconds=0.5, n_fft=64, hop=32))
        assert cli.main(["reproduce", "hetherly2018", *map(str, arguments)]) == 0
        with pytest.raises(UserError, match="models: contains an earlier run"):
            experiment.run(folder, out, steps=2, mixtures=3)
        patch.setattr(experiment, "train", None)  # all models are loaded
        resumed = experiment.run(folder, out, steps=2, mixtures=3, resume=True, progress=False)
    return out, json.loads(printed.getvalue()), resumed


def test_run_writes_table_figures_and_claims(reproduced):
    out, result, resumed = reproduced
    assert {path.name for path in out.iterdir()} == {"models", "results.csv", "figure.png", "figure.svg", "claims.md"}
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * len(METHODS)
    for test_set, sources in (("in-set", "abc"), ("out-of-set", "d")):
        assert {row["noise"] for row in rows if row["set"] == test_set} <= {f"noise {name}" for name in sources}
    assert all(-5.01 <= float(row["snr_db"]) <= 5.01 for row in rows)
    assert [claim["letter"] for claim in result["claims"]] == list("abcd")
    assert resumed["claims"] == result["claims"]


def test_training_and_test_recordings_are_disjoint(folder):
    recordings = data.load(folder, RATE, 1000)
    assert list(recordings.voices) == list(recordings.in_set[0]) == ["voice a", "voice b", "voice c"]
    assert list(recordings.out_of_set[0]) == ["voice d"] and list(recordings.out_of_set[1]) == ["noise d"]
    training, test = recordings.voices["voice a"][0], recordings.in_set[0]["voice a"][0]
    assert len(training) + len(test) == 2 * RATE and len(test) == round(0.3 * 2 * RATE)
    np.testing.assert_allclose(np.sqrt(np.mean(training[:RATE] ** 2)), 1, rtol=1e-3)
    with pytest.raises(UserError, match=r"speech: no source has 1 s for in-set tests"):
        data.load(folder, RATE, RATE)
    with pytest.raises(UserError, match="no such folder; DATA needs speech/ and noise/"):
        data.load(folder / "speech", RATE, 1000)


def test_project_recordings_are_recognised(shared_data):
    recordings = data.load(shared_data("noise/cafe.flac").parents[1], RATE, RATE)
    assert recordings.small and list(recordings.voices) == ["george", "jackson", "lucas"]
    assert list(recordings.out_of_set[0]) == ["nicolas"]
    assert set(recordings.out_of_set[1]) == {"machine", "traffic", "wind", "ambient 3"}
    assert not set(recordings.noises) & set(recordings.out_of_set[1])


def score_rows(gains, slope=-0.3):
    """Return rows of two mixtures per method and set, at -2 and 2 dB, with these mean gains, of both sets or by set."""
    rows = []
    for method, gain in gains.items():
        for test_set, mean in zip(scores.SETS, gain if isinstance(gain, tuple) else (gain, gain), strict=True):
            for snr in (-2.0, 2.0):
                key = {"method": method, "set": test_set, "noise": "rain", "snr_db": snr, "sdr_in_db": snr}
                rows.append(key | {"sdr_db": snr + mean + slope * snr})
    return rows


GAINS = {"SNMF": 2, "DAE-30": 6, "SCE, clusters": 8, "SCE+MI, clusters": 6, "SCE+MI, masks": 9}
GAINS |= {"DC+MI, clusters": 5, "DC+MI, masks": 8.5}


@pytest.mark.parametrize(
    ("broken", "changes", "slope"),
    [
        ("", {}, -0.3),
        ("a", {"DC+MI, masks": (8.5, 7.5)}, -0.3),
        ("b", {"SCE+MI, clusters": (6, 8.5)}, -0.3),
        ("c", {"DAE-30": (6, 1)}, -0.3),
        ("c", {"SNMF": 8.2}, -0.3),
        ("d", {}, 0.1),
    ],
)
def test_each_claim_can_fail(broken, changes, slope):
    checked = claims.check_claims(score_rows(GAINS | changes, slope), small=False)
    assert {claim.letter for claim in checked if not claim.holds} == set(broken)


def test_small_dae_30_is_left_out_of_claim_c():
    (_, _, claim, _) = claims.check_claims(score_rows(GAINS | {"DAE-30": 1}), small=True)
    assert claim.holds and "DAE-30 is left out" in claim.rule


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
