"""The experiment of Stowell & Turner 2015: what is cut and mixed, what is measured, and the rules of its claims."""

import contextlib
import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.experiments.stowell2015 import claims, data, members, report, scores
from partae_fast.experiments.stowell2015.data import Mixture, Part
from partae_fast.sampling.crops import CropSampler
from partae_fast.sweeps.grid import Member

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
RATE = 22050


def write(path, seconds, seed, level=0.1, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = level * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    files.write(path, samples.astype(np.float32), rate, "FLOAT")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two songs, and noises a and b, b of two files; white noise all of them, of different levels."""
    top = tmp_path_factory.mktemp("material")
    write(top / "signal" / "one.wav", 4, 1, 0.02)
    write(top / "signal" / "two.flac", 3, 2, 0.2)
    write(top / "noise_a" / "a.wav", 5, 3, 0.05)
    write(top / "noise_b" / "b1.wav", 3, 4)
    write(top / "noise_b" / "b2.wav", 3, 5)
    return top


@pytest.fixture(scope="module")
def recordings(folder):
    return data.load(folder)


@pytest.fixture(scope="module")
def reproduced(folder, tmp_path_factory):
    """Output folder and printed JSON of a run of two steps."""
    out = tmp_path_factory.mktemp("out") / "figure6"
    arguments = ["--data", folder, "--out", out, "--steps", 2, "--threads", 1, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(scores, "_CROPS", 4)
        assert cli.main(["reproduce", "stowell2015", *map(str, arguments)]) == 0
    return out, json.loads(printed.getvalue())


def spans(part, whole):
    """Where the part's recordings are in the whole's frames, each (first, end)."""
    found = []
    for recording in part:
        first = int(np.flatnonzero((whole == recording[0]).all(1))[0])
        np.testing.assert_array_equal(recording, whole[first : first + len(recording)])
        found.append((first, first + len(recording)))
    return found


def test_what_trains_and_what_validates_shares_no_sample(recordings, folder):
    noise = recordings.noises[0]
    whole = recordings.spectrogram.magnitude(files.read(folder / "noise_a" / "a.wav")[0][:, 0])
    halves = (noise.intrinsic, noise.extrinsic)
    cuts = [span for half in halves for part in (half.training, half.validation) for span in spans(part, whole)]
    assert [first for first, _ in cuts] == sorted(first for first, _ in cuts)
    # A frame has two hops of samples: where one is left out between them, neighbours have none in common.
    assert [later[0] - earlier[1] for earlier, later in itertools.pairwise(cuts)] == [1, 1, 1]
    assert cuts[0][0] == 0 and cuts[-1][1] == len(whole)


def test_songs_are_brought_to_one_level_and_their_ends_validate(recordings, folder):
    for i, name in enumerate(("one.wav", "two.flac")):
        whole = recordings.spectrogram.magnitude(files.read(folder / "signal" / name)[0][:, 0])
        whole = whole / np.float32(data._rms([whole]))
        training, validation = recordings.songs.training[i], recordings.songs.validation[i]
        np.testing.assert_allclose(training, whole[: len(training)], rtol=1e-5)
        np.testing.assert_allclose(validation, whole[-len(validation) :], rtol=1e-5)
        assert len(training) + len(validation) == len(whole) - 1
        assert len(validation) / len(whole) == pytest.approx(0.25, abs=0.01)


def test_no_more_is_taken_than_the_paper_had(tmp_path):
    write(tmp_path / "signal" / "long.wav", 50, 1)
    write(tmp_path / "signal" / "not_read.wav", 5, 2)
    write(tmp_path / "noise_a" / "long.wav", 90, 3)
    write(tmp_path / "noise_b" / "short.wav", 10, 4)
    found = data.load(tmp_path)
    rate = found.spectrogram.frame_rate
    assert len(found.songs.training) == 1
    for part in (found.songs, found.noises[0].intrinsic, found.noises[0].extrinsic):
        assert len(part.training[0]) / rate == pytest.approx(30, abs=0.05)
        assert len(part.validation[0]) / rate == pytest.approx(10, abs=0.05)


def test_songs_stand_at_the_ratios_asked_for_and_items_at_the_presets_level(recordings):
    for mixture in data.mixtures(recordings, snr_intrinsic=3.0, snr_extrinsic=-7.0):
        songs, intrinsic, extrinsic = (part.rms() for part in mixture.parts)
        assert 20 * np.log10(songs / intrinsic) == pytest.approx(3.0, abs=1e-4)
        assert 20 * np.log10(songs / extrinsic) == pytest.approx(-7.0, abs=1e-4)
        sampler = CropSampler([part.training for part in mixture.parts], [], frames=128, noise_only=0.0, batch=400)
        assert np.sqrt(np.mean(sampler.batch_at(0)[0].numpy() ** 2)) == pytest.approx(data.SETTINGS.level, rel=0.02)


def test_noise_is_matched_with_itself_and_unmatched_with_the_next(recordings):
    found = [(m.condition, m.intrinsic, m.extrinsic) for m in data.mixtures(recordings, 0, 0)]
    assert found == [
        ("matched", "a", "a"),
        ("matched", "b", "b"),
        ("unmatched", "a", "b"),
        ("unmatched", "b", "a"),
    ]


def steady(level, frames=40):
    """Magnitudes from `level` to 4 % above it, those to validate on ten times as large."""
    training = level * np.linspace(1.0, 1.04, frames, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    return Part([training], [10 * training])


STEADY = Mixture("a", "b", (steady(1.0), steady(2.0), steady(4.0)))


def test_crops_are_halved_until_two_fit(recordings):
    def with_validation(frames):
        noise = data.Noise("n", steady(1.0, 9999), steady(1.0, frames))
        return data.Recordings(recordings.spectrogram, steady(1.0, 9999), [noise, noise])

    assert [data.crop_frames(with_validation(n)) for n in (1024, 1023, 512, 511, 128)] == [512, 256, 256, 128, 128]
    assert data.crop_frames(with_validation(40), 40) == 40
    with pytest.raises(UserError, match=r"extrinsic n: .* 127 frames \(0.37 s\).* 128 .*longer recordings"):
        data.crop_frames(with_validation(127))
    with pytest.raises(UserError, match="fewer frames"):
        data.crop_frames(with_validation(127), 200)


def around(magnitudes, level):
    return level * 0.999 < magnitudes.min() and magnitudes.max() < level * 1.041


def test_models_and_their_samplers():
    found = members.members([STEADY], frames=32, seed=5, device=torch.device("cpu"))
    shares = [member.settings["share"] for member in found]
    assert shares == [0, 12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100, None]
    assert [int(member.model.foreground.sum()) for member in found[:9]] == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    partitioned, denoising = found[0].sampler, found[-1].sampler
    x, noise_only = partitioned.batch_at(0)
    assert float(noise_only.mean()) == 0.25
    assert around(x[noise_only > 0], 4.0) and around(x[noise_only == 0], 7.0)
    x, noise_only = denoising.batch_at(0)
    assert not noise_only.any() and around(x, 7.0) and around(denoising.target_at(0), 3.0)


def test_crops_that_validate_are_of_validation_recordings_alone():
    crops = scores.validation_crops(STEADY, 16)
    assert crops.shape == (3, 128, 16, 4)
    assert all(around(part, level) for part, level in zip(crops, (10.0, 20.0, 40.0), strict=True))


class Halves(torch.nn.Module):
    """Its signal is half of the input, its reconstruction nine tenths."""

    w_enc = torch.zeros(1)

    def separate(self, x):
        return 0.5 * x, 0.4 * x

    def forward(self, x):
        return 0.9 * x


def test_scores_are_of_each_part_against_each_reference():
    crops = np.stack([np.full((2, 3, 4), level, np.float32) for level in (2.0, 1.0, 1.0)])
    member = Member({"method": "partitioned", "share": 50.0}, Halves(), sampler=None)  # pyright: ignore
    rows = {(row["part"], row["reference"]): row["snr_db"] for row in scores.scores(member, crops)}
    wanted = {
        ("signal", "input"): (4.0, 2.0),
        ("signal", "partly clean"): (3.0, 2.0),
        ("whole", "input"): (4.0, 3.6),
        ("whole", "partly clean"): (3.0, 3.6),
        ("whole", "truly clean"): (2.0, 3.6),
    }
    for key, (reference, estimate) in wanted.items():
        assert rows[key] == pytest.approx(20 * np.log10(reference / abs(reference - estimate)), abs=1e-4)
    assert rows["signal", "truly clean"] == np.inf
    member.settings["share"] = 0.0
    limit = {(row["part"], row["reference"]): row["snr_db"] for row in scores.scores(member, crops)}
    assert limit["signal", "truly clean"] == rows["whole", "truly clean"]


def test_the_input_is_measured_too():
    crops = np.stack([np.full((2, 3, 4), level, np.float32) for level in (2.0, 1.0, 1.0)])
    rows = scores.untouched(STEADY, crops)
    assert {row["reference"]: row["snr_db"] for row in rows} == pytest.approx(
        {"partly clean": 20 * np.log10(3), "truly clean": 0.0}
    )


def made_up(change=lambda **where: 0.0):
    """Scores of two noises by which every claim holds, `change` dB added where it says so."""
    rows = []
    for condition in claims.CONDITIONS:
        for method in ("partitioned", "denoising"):
            for share in members.SHARES if method == "partitioned" else [None]:
                for part in scores.PARTS:
                    for reference in scores.REFERENCES:
                        where = {
                            "method": method,
                            "condition": condition,
                            "share": share,
                            "part": part,
                            "reference": reference,
                        }
                        snr = good(**where) + change(**where)
                        rows += [{**where, "snr_db": snr - 1}, {**where, "snr_db": snr + 1}]
    return rows


def good(method, condition, share, part, reference):
    if method == "denoising":
        return {"input": 5.0, "partly clean": 8.0, "truly clean": 2.0}[reference]
    if reference == "input":
        return 4.0 if share == 100 else 9.0
    if reference == "partly clean":
        return 7.0
    return 3.0 if condition == "matched" else 1.0


def verdicts(rows):
    return {claim.letter: claim.holds for claim in claims.judge(rows)}


ALL_HOLD = dict.fromkeys("abcde", True)


def test_every_claim_can_hold():
    assert verdicts(made_up()) == ALL_HOLD


def add(decibels, **at):
    """A change where all of `at` is so."""
    return lambda **where: decibels if at.items() <= where.items() else 0.0


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (add(-4.5, method="partitioned", share=75.0, part="whole", reference="input", condition="matched"), "a"),
        (add(2, method="partitioned", share=12.5, part="signal", reference="partly clean", condition="unmatched"), "a"),
        (add(2, method="partitioned", share=0.0, part="signal", reference="partly clean"), ""),
        (add(-2, method="partitioned", share=75.0, part="signal", reference="truly clean", condition="matched"), "b"),
        (add(-2, method="partitioned", share=37.5, part="signal", reference="truly clean", condition="matched"), ""),
        (add(-2, method="partitioned", share=50.0, part="signal", reference="truly clean", condition="matched"), "c"),
        (add(6, method="partitioned", share=100.0, part="whole", reference="input", condition="unmatched"), "d"),
        (add(2, method="partitioned", part="signal", reference="truly clean", condition="unmatched"), "e"),
        (add(2, method="partitioned", share=75.0, reference="truly clean", condition="unmatched"), ""),
    ],
)
def test_each_claim_can_fail(change, broken):
    assert verdicts(made_up(change)) == {**ALL_HOLD, **dict.fromkeys(broken, False)}


def test_models_that_are_worse_than_silence_at_their_own_task_are_named():
    row = {"condition": "matched", "intrinsic": "a", "extrinsic": "a", "part": "whole"}
    denoising = {**row, "method": "denoising", "share": None}
    partitioned = {**row, "method": "partitioned", "share": 50.0}
    rows = [
        {**denoising, "reference": "partly clean", "snr_db": -3.0},
        {**denoising, "reference": "truly clean", "snr_db": -9.0},
        {**partitioned, "reference": "input", "snr_db": 0.1},
        {**partitioned, "reference": "truly clean", "snr_db": -9.0},
        {**partitioned, "part": "signal", "reference": "input", "snr_db": -9.0},
        {**row, "method": "none", "share": None, "reference": "partly clean", "snr_db": -9.0},
    ]
    name = "method=denoising_condition=matched_intrinsic=a_extrinsic=a_share=None"
    assert report.broken_out(rows) == [(name, -3.0)]
    rows[2]["snr_db"] = -0.1
    assert [snr for _, snr in report.broken_out(rows)] == [-3.0, -0.1]


def test_a_run_writes_table_figure_and_verdicts(reproduced):
    out, result = reproduced
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    models = {(row["method"], row["intrinsic"], row["extrinsic"], row["share"]) for row in rows}
    assert len([model for model in models if model[0] == "partitioned"]) == 4 * 9
    assert len([model for model in models if model[0] == "denoising"]) == 4
    assert len(rows) == 4 * (10 * 6 + 2) and all(np.isfinite(float(row["snr_db"])) for row in rows)
    assert (out / "figure6.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "figure6.svg").read_text().startswith("<?xml")
    assert [claim["letter"] for claim in result["claims"]] == list("abcde")
    assert result["files"] == [str(out / n) for n in ("results.csv", "figure6.png", "figure6.svg", "claims.md")]
    text = (out / "claims.md").read_text()
    for claim in result["claims"]:
        verdict = "holds" if claim["holds"] else "does not hold"
        assert f"| {claim['letter']} | {claim['claim']} | **{verdict}** | {claim['figures']} |" in text
    assert "-30 dB to intrinsic and -10 dB to extrinsic" in text
    assert "128 frames (0.37 s), not the paper's 512" in text and "2 steps" in text
    assert len(list((out / "sweep").glob("*.safetensors"))) == 40


def test_a_run_is_not_overwritten(reproduced, folder, capsys):
    out, _ = reproduced
    assert cli.main(["reproduce", "stowell2015", "--data", str(folder), "--out", str(out), "--steps", "2"]) == 2
    assert "resume it or name another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        ((), "no such folder"),
        (("noise_a/x.wav", "noise_b/x.wav"), "has no signal/ and 2 noise_NAME/"),
        (("signal/x.wav", "noise_a/x.wav"), "has signal/ and 1 noise_NAME/"),
        (("signal/x.txt", "noise_a/x.wav", "noise_b/x.wav"), "signal: no audio file"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/low.wav"), "low.wav: sampled at 8000 Hz"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/short.wav"), "intrinsic b: a quarter"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/silent.wav"), "silent.wav: nothing sounds in the band"),
    ],
)
def test_mistakes_are_said_in_a_line(present, wanted, tmp_path, capsys):
    for name in present:
        seconds, level = (1, 0.1) if "short" in name else (4, 0.0 if "silent" in name else 0.1)
        path = tmp_path / "data" / name
        write(path.with_suffix(".wav"), seconds, 1, level, 8000 if "low" in name else RATE)
        path.with_suffix(".wav").rename(path)
    code = cli.main(
        ["reproduce", "stowell2015", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "-q"]
    )
    err = capsys.readouterr().err
    assert code == 2 and wanted in err and err.count("\n") == 1


def test_an_unknown_paper_is_refused_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce", "stowell2016", "--data", "."])
    assert stop.value.code == 2 and "stowell2015" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_the_projects_recordings_are_recognised():
    found = data.load(SHARED)
    assert [noise.name for noise in found.noises] == ["crowd", "ambient_5", "diffuse"]
    assert sum(map(len, found.songs.training)) / found.spectrogram.frame_rate == pytest.approx(30, abs=0.1)
    assert data.crop_frames(found) == 128
