"""The experiment of Hetherly et al. 2018: who is learnt from, who is tested, the claims' rules, what is written."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.experiments.hetherly2018 import claims, data, experiment, methods, scores
from partae_fast.experiments.hetherly2018.methods import METHODS
from partae_fast.systems.mixing import MixtureSettings

RATE = 10000


def put(path, seconds, frequency):
    path.parent.mkdir(parents=True, exist_ok=True)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = 0.1 * np.sin(2 * np.pi * frequency * time) * (np.sin(2 * np.pi * 3 * time) > 0)
    files.write(path, samples.astype(np.float32), RATE, "FLOAT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four voices and four noises, tones all of them."""
    top = tmp_path_factory.mktemp("material")
    for number, name in enumerate("abcd"):
        put(top / "speech" / f"voice {name}" / "one.wav", 1.0, 300 + 100 * number)
        put(top / "speech" / f"voice {name}" / "two.wav", 1.0, 350 + 100 * number)
        put(top / "noise" / f"noise {name}" / "one.wav", 2.0, 2000 + 400 * number)
    return top


@pytest.fixture(scope="module")
def reproduced(folder, tmp_path_factory):
    """Output folder and printed JSON of a run of two steps of tiny networks."""
    pytest.importorskip("sklearn")
    pytest.importorskip("fast_bss_eval")
    out = tmp_path_factory.mktemp("out") / "voices"
    tiny = methods.Sizes(1, 3, 2, filters=1, patch=8, dae_batch=2, bases=2, iterations=2, batch=2)
    arguments = ["--data", folder, "--out", out, "--steps", 2, "--mixtures", 3, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "PAPER", tiny)
        patch.setattr(experiment, "MixtureSettings", lambda: MixtureSettings(seconds=0.5, n_fft=64, hop=32))
        assert cli.main(["reproduce", "hetherly2018", *map(str, arguments)]) == 0
        with pytest.raises(UserError, match="models: holds an earlier run"):
            experiment.run(folder, out, steps=2, mixtures=3)
        patch.setattr(experiment, "train", None)  # nothing is left to be trained
        again = experiment.run(folder, out, steps=2, mixtures=3, resume=True, progress=False)
    return out, json.loads(printed.getvalue()), again


def test_a_run_writes_its_table_its_figure_and_its_claims(reproduced):
    out, result, again = reproduced
    assert {path.name for path in out.iterdir()} == {"models", "results.csv", "figure.png", "figure.svg", "claims.md"}
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * len(METHODS)
    for where, voices in (("in-set", "abc"), ("out-of-set", "d")):
        assert {row["noise"] for row in rows if row["set"] == where} <= {f"noise {name}" for name in voices}
    assert all(-5.01 <= float(row["snr_db"]) <= 5.01 for row in rows)
    assert [claim["letter"] for claim in result["claims"]] == list("abcd")
    assert again["claims"] == result["claims"]


def test_who_is_tested_is_not_learnt_from(folder):
    found = data.load(folder, RATE, 1000)
    assert list(found.voices) == list(found.inside[0]) == ["voice a", "voice b", "voice c"]
    assert list(found.outside[0]) == ["voice d"] and list(found.outside[1]) == ["noise d"]
    whole = np.concatenate([found.voices["voice a"][0], found.inside[0]["voice a"][0]])
    assert len(whole) == 2 * RATE and len(found.inside[0]["voice a"][0]) == round(0.3 * 2 * RATE)
    np.testing.assert_allclose(np.sqrt(np.mean(whole[:RATE] ** 2)), 1, rtol=1e-3)
    with pytest.raises(UserError, match=r"speech: no source has 1 s to be tested on"):
        data.load(folder, RATE, RATE)
    with pytest.raises(UserError, match="no such folder; DATA needs speech/ and noise/"):
        data.load(folder / "speech", RATE, 1000)


def test_the_projects_recordings_are_known(shared_data):
    found = data.load(shared_data("noise/cafe.flac").parents[1], RATE, RATE)
    assert (
        found.small and list(found.voices) == ["george", "jackson", "lucas"] and list(found.outside[0]) == ["nicolas"]
    )
    assert set(found.outside[1]) == {"machine", "traffic", "wind", "ambient 3"}
    assert not set(found.noises) & set(found.outside[1])


def rows(gains, slope=-0.3):
    """Two mixtures a method and set, at -2 and 2 dB, with these mean gains: of both sets, or by set."""
    found = []
    for method, gain in gains.items():
        for where, mean in zip(scores.SETS, gain if isinstance(gain, tuple) else (gain, gain), strict=True):
            for snr in (-2.0, 2.0):
                about = {"method": method, "set": where, "noise": "rain", "snr_db": snr, "sdr_in_db": snr}
                found.append(about | {"sdr_db": snr + mean + slope * snr})
    return found


HOLD = {"SNMF": 2, "DAE-30": 6, "SCE, clusters": 8, "SCE+MI, clusters": 6, "SCE+MI, masks": 9}
HOLD |= {"DC+MI, clusters": 5, "DC+MI, masks": 8.5}


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
def test_each_claim_falls_with_what_it_says(broken, changes, slope):
    judged = claims.judge(rows(HOLD | changes, slope), small=False)
    assert {claim.letter for claim in judged if not claim.holds} == set(broken)


def test_of_small_networks_dae_30_does_not_count():
    (_, _, claim, _) = claims.judge(rows(HOLD | {"DAE-30": 1}), small=True)
    assert claim.holds and "DAE-30 does not count" in claim.rule


def test_the_cluster_nearer_to_the_voice_is_taken():
    class Halves:
        spectrogram = MixtureSettings(n_fft=64, hop=32).spectrogram

        def clusters(self, x, count):
            return (x.new_tensor(range(33)) < 10).long().expand(x.shape)

    time = np.arange(4000) / RATE
    low, high = (np.sin(2 * np.pi * f * time).astype(np.float32) for f in (500, 3500))
    for voice in (low, high):
        found = scores.by_clusters(Halves())(low + high, voice)
        assert np.mean((found - voice) ** 2) < 0.05 * np.mean(voice**2)
