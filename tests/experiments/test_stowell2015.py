"""The experiment of Stowell & Turner 2015: splits, mixtures, scores, rules of the claims, and a whole run."""

import contextlib
import csv
import functools
import inspect
import io
import itertools
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.cli import reproduce
from partae_fast.errors import UserError
from partae_fast.experiments.stowell2015 import claims, data, experiment, markdown, models, scores
from partae_fast.experiments.stowell2015.data import Mixture, Split
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
    """Return a folder of two songs and noises a and b, b in two files; all are white noise at different levels."""
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
    """Return the output folder and the printed JSON of a run of two steps, with one penalty and both optimizers."""
    out = tmp_path_factory.mktemp("out") / "figure6"
    arguments = ["--data", folder, "--out", out, "--steps", 2, "--penalty", 12, "--threads", 1, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(scores, "_CROPS", 4)
        assert cli.main(["reproduce", "stowell2015", *map(str, arguments)]) == 0
    return out, json.loads(printed.getvalue())


def frame_ranges(excerpts, magnitudes):
    """Return the range of frames (first, end) of each excerpt in a recording's magnitudes."""
    ranges = []
    for excerpt in excerpts:
        first = int(np.flatnonzero((magnitudes == excerpt[0]).all(1))[0])
        np.testing.assert_array_equal(excerpt, magnitudes[first : first + len(excerpt)])
        ranges.append((first, first + len(excerpt)))
    return ranges


def test_training_and_validation_share_no_sample(recordings, folder):
    noise = recordings.noises[0]
    magnitudes = recordings.spectrogram.magnitude(files.read(folder / "noise_a" / "a.wav")[0][:, 0])
    excerpts = [part for split in (noise.intrinsic, noise.extrinsic) for part in (*split.training, *split.validation)]
    ranges = frame_ranges(excerpts, magnitudes)
    assert [first for first, _ in ranges] == sorted(first for first, _ in ranges)
    # A frame spans two hops, so frames that are two apart share no sample.
    assert [later[0] - earlier[1] for earlier, later in itertools.pairwise(ranges)] == [1, 1, 1]
    assert ranges[0][0] == 0 and ranges[-1][1] == len(magnitudes)


def test_songs_have_the_same_level_and_their_ends_are_for_validation(recordings, folder):
    for i, name in enumerate(("one.wav", "two.flac")):
        song = recordings.spectrogram.magnitude(files.read(folder / "signal" / name)[0][:, 0])
        song = song / np.float32(data._rms([song]))
        training, validation = recordings.songs.training[i], recordings.songs.validation[i]
        np.testing.assert_allclose(training, song[: len(training)], rtol=1e-5)
        np.testing.assert_allclose(validation, song[-len(validation) :], rtol=1e-5)
        assert len(training) + len(validation) == len(song) - 1
        assert len(validation) / len(song) == pytest.approx(0.25, abs=0.01)


def test_at_most_30_seconds_are_used_for_training(tmp_path):
    write(tmp_path / "signal" / "long.wav", 50, 1)
    write(tmp_path / "signal" / "not_read.wav", 5, 2)
    write(tmp_path / "noise_a" / "long.wav", 90, 3)
    write(tmp_path / "noise_b" / "short.wav", 10, 4)
    recordings = data.load(tmp_path)
    rate = recordings.spectrogram.frame_rate
    assert len(recordings.songs.training) == 1
    for split in (recordings.songs, recordings.noises[0].intrinsic, recordings.noises[0].extrinsic):
        assert len(split.training[0]) / rate == pytest.approx(30, abs=0.05)
        assert len(split.validation[0]) / rate == pytest.approx(10, abs=0.05)


def test_mixtures_have_the_given_snrs_and_the_level_of_the_preset(recordings):
    for mixture in data.mixtures(recordings, snr_intrinsic=3.0, snr_extrinsic=-7.0):
        songs, intrinsic, extrinsic = (split.rms() for split in mixture.splits)
        assert 20 * np.log10(songs / intrinsic) == pytest.approx(3.0, abs=1e-4)
        assert 20 * np.log10(songs / extrinsic) == pytest.approx(-7.0, abs=1e-4)
        sampler = CropSampler([split.training for split in mixture.splits], [], frames=128, noise_only=0.0, batch=400)
        assert np.sqrt(np.mean(sampler.batch_at(0)[0].numpy() ** 2)) == pytest.approx(data.SETTINGS.level, rel=0.02)


def test_each_noise_is_mixed_with_itself_and_with_the_next(recordings):
    conditions = [(m.condition, m.intrinsic, m.extrinsic) for m in data.mixtures(recordings, 0, 0)]
    assert conditions == [
        ("matched", "a", "a"),
        ("matched", "b", "b"),
        ("unmatched", "a", "b"),
        ("unmatched", "b", "a"),
    ]


def steady(level, frames=40):
    """Return magnitudes from `level` to 4 % above it; those for validation are ten times as large."""
    training = level * np.linspace(1.0, 1.04, frames, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    return Split([training], [10 * training])


STEADY = Mixture("a", "b", (steady(1.0), steady(2.0), steady(4.0)))


def test_crop_length_is_halved_until_two_crops_fit(recordings):
    def with_validation(frames):
        noise = data.Noise("n", steady(1.0, 9999), steady(1.0, frames))
        return data.Recordings(recordings.spectrogram, steady(1.0, 9999), [noise, noise])

    assert [data.crop_frames(with_validation(n)) for n in (1024, 1023, 512, 511, 128)] == [512, 256, 256, 128, 128]
    assert data.crop_frames(with_validation(40), 40) == 40
    with pytest.raises(UserError, match=r"extrinsic n: .* 127 frames \(0.37 s\).* 128 .*longer recordings"):
        data.crop_frames(with_validation(127))
    with pytest.raises(UserError, match="fewer frames"):
        data.crop_frames(with_validation(127), 200)


def is_near(magnitudes, level):
    """Return whether `magnitudes` are those of `steady(level)`."""
    return level * 0.999 < magnitudes.min() and magnitudes.max() < level * 1.041


def test_sweep_members_have_the_right_models_and_samplers():
    members = models.sweep_members([STEADY], frames=32, seeds=[5], device=torch.device("cpu"))
    shares = [member.settings["share"] for member in members]
    assert shares == [0, 12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100, None]
    assert [int(member.model.foreground.sum()) for member in members[:9]] == [0, 4, 8, 12, 16, 20, 24, 28, 32]
    partitioned, denoising = members[0].sampler, members[-1].sampler
    x, noise_only = partitioned.batch_at(0)
    assert float(noise_only.mean()) == 0.25
    assert is_near(x[noise_only > 0], 4.0) and is_near(x[noise_only == 0], 7.0)
    x, noise_only = denoising.batch_at(0)
    assert not noise_only.any() and is_near(x, 7.0) and is_near(denoising.target_at(0), 3.0)


def test_sweep_members_have_every_penalty_optimizer_and_seed():
    members = models.sweep_members([STEADY], 32, [5, 6], torch.device("cpu"), [0.75, 12], ["adadelta", "adam"], "mean")
    assert len(members) == 2 * 2 * (2 * 9 + 1)
    assert {(m.settings["optimizer"], m.optimizer) for m in members} == {("adadelta",) * 2, ("adam",) * 2}
    assert {m.sampler.seed for m in members if m.settings["seed"] == 6} == {6}
    # Crops of 32 frames and 4 bins have 128 errors, and 2 pools of 32 latents.
    weights = {(m.settings["penalty"], m.penalty) for m in members}
    assert weights == {(0.75, 1.5), (12.0, 24.0), (None, 0.0)}


def test_penalty_on_means_is_16_times_as_strong_at_the_sizes_of_the_paper():
    assert [models.loss_penalty(0.75, reduction, 512, 32) for reduction in models.REDUCTIONS] == [0.75, 12.0]
    assert models.loss_penalty(0.75, "mean", 128, 32) == 12.0
    with pytest.raises(UserError, match="penalty_reduction is 'max'; choose sum or mean"):
        models.loss_penalty(0.75, "max", 512, 32)


def test_defaults_are_those_of_the_paper():
    defaults = {name: p.default for name, p in inspect.signature(experiment.run).parameters.items()}
    assert (defaults["snr_intrinsic"], defaults["snr_extrinsic"]) == (-10.0, -30.0)
    assert (defaults["penalty"], defaults["penalty_reduction"]) == ((0.75, 12.0, 48.0, 300.0), "sum")
    assert defaults["optimizer"] == ("adadelta", "adam")
    # The claims are judged for the preset, whose settings have not changed.
    assert (data.SETTINGS.penalty, data.SETTINGS.optimizer) == (defaults["penalty"][0], defaults["optimizer"][0])


def test_validation_crops_come_from_validation_splits():
    crops = scores.validation_crops(STEADY, 16)
    assert crops.shape == (3, 128, 16, 4)
    assert all(is_near(part, level) for part, level in zip(crops, (10.0, 20.0, 40.0), strict=True))


class Halves(torch.nn.Module):
    """A model whose signal is half of the input and whose reconstruction is nine tenths of it."""

    w_enc = torch.zeros(1)

    def separate(self, x):
        return 0.5 * x, 0.4 * x

    def forward(self, x):
        return 0.9 * x


def test_scores_compare_each_part_with_each_reference():
    crops = np.stack([np.full((2, 3, 4), level, np.float32) for level in (2.0, 1.0, 1.0)])
    member = Member({"method": "partitioned", "share": 50.0}, Halves(), sampler=None)  # pyright: ignore
    rows = {(row["part"], row["reference"]): row["snr_db"] for row in scores.scores(member, crops)}
    reference_and_estimate = {
        ("signal", "input"): (4.0, 2.0),
        ("signal", "partly clean"): (3.0, 2.0),
        ("whole", "input"): (4.0, 3.6),
        ("whole", "partly clean"): (3.0, 3.6),
        ("whole", "truly clean"): (2.0, 3.6),
    }
    for key, (reference, estimate) in reference_and_estimate.items():
        assert rows[key] == pytest.approx(20 * np.log10(reference / abs(reference - estimate)), abs=1e-4)
    assert rows["signal", "truly clean"] == np.inf
    member.settings["share"] = 0.0
    limit = {(row["part"], row["reference"]): row["snr_db"] for row in scores.scores(member, crops)}
    assert limit["signal", "truly clean"] == rows["whole", "truly clean"]


def test_the_unprocessed_input_is_scored():
    crops = np.stack([np.full((2, 3, 4), level, np.float32) for level in (2.0, 1.0, 1.0)])
    rows = scores.unprocessed_scores(STEADY, crops)
    assert {row["reference"]: row["snr_db"] for row in rows} == pytest.approx(
        {"partly clean": 20 * np.log10(3), "truly clean": 0.0}
    )


def score_rows(change=lambda **key: 0.0):
    """Return rows of two noises for which every claim holds, with `change(**key)` dB added to the SNRs."""
    rows = []
    for condition in claims.CONDITIONS:
        for method in ("partitioned", "denoising"):
            for share in models.SHARES if method == "partitioned" else [None]:
                for part in scores.PARTS:
                    for reference in scores.REFERENCES:
                        key = {
                            "method": method,
                            "condition": condition,
                            "share": share,
                            "part": part,
                            "reference": reference,
                        }
                        snr = paper_snr(**key) + change(**key)
                        rows += [{**key, "snr_db": snr - 1}, {**key, "snr_db": snr + 1}]
    return rows


def paper_snr(method, condition, share, part, reference):
    if method == "denoising":
        return {"input": 5.0, "partly clean": 8.0, "truly clean": 2.0}[reference]
    if reference == "input":
        return 4.0 if share == 100 else 9.0
    if reference == "partly clean":
        return 7.0
    return 3.0 if condition == "matched" else 1.0


def verdicts(rows):
    return {claim.letter: claim.holds for claim in claims.check_claims(rows)}


ALL_HOLD = dict.fromkeys("abcde", True)


def test_every_claim_can_hold():
    assert verdicts(score_rows()) == ALL_HOLD


def add(decibels, **selected):
    """Return a change of `decibels` for the rows with the values in `selected`."""
    return lambda **key: decibels if selected.items() <= key.items() else 0.0


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
    assert verdicts(score_rows(change)) == {**ALL_HOLD, **dict.fromkeys(broken, False)}


def test_models_that_score_below_silence_are_listed():
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
    assert markdown.diverged_models(rows) == [(name, -3.0)]
    rows[2]["snr_db"] = -0.1
    assert [snr for _, snr in markdown.diverged_models(rows)] == [-3.0, -0.1]


def test_run_writes_table_figure_and_claims(reproduced):
    out, result = reproduced
    with open(out / "results.csv") as file:
        rows = list(csv.DictReader(file))
    keys = {(row["method"], row["intrinsic"], row["extrinsic"], row["share"]) for row in rows}
    assert len([key for key in keys if key[0] == "partitioned"]) == 4 * 9
    assert len([key for key in keys if key[0] == "denoising"]) == 4
    assert len(rows) == 4 * (2 * 10 * 6 + 2) and all(np.isfinite(float(row["snr_db"])) for row in rows)
    assert (out / "figure6.png").read_bytes()[:4] == b"\x89PNG"
    assert (out / "figure6.svg").read_text().startswith("<?xml")
    assert [claim["letter"] for claim in result["claims"]] == list("abcde")
    names = ("results.csv", "figure6.png", "figure6.svg", "penalties.png", "claims.md", "settings.yaml")
    assert result["files"] == [str(out / name) for name in names]
    assert (out / "penalties.png").read_bytes()[:4] == b"\x89PNG"
    text = (out / "claims.md").read_text()
    for claim in result["claims"]:
        verdict = "holds" if claim["holds"] else "does not hold"
        assert f"| {claim['letter']} | {claim['claim']} | **{verdict}** | {claim['figures']} |" in text
    assert "-10 dB to intrinsic and -30 dB to extrinsic" in text
    assert "2 steps per model (the paper has a million), adadelta and adam, penalties 12 (sum" in text
    assert [(c["optimizer"], c["penalty"]) for c in result["configurations"]] == [("adadelta", 12.0), ("adam", 12.0)]
    held = {claim["letter"] for claim in result["claims"] if claim["holds"]}
    assert set(result["configurations"][0]["holds"]) == held
    for optimizer in ("adadelta", "adam"):
        assert f"\n| {optimizer} | 12 | " in text and f"## {optimizer}, penalty 12, unmatched noise" in text
    assert "128 frames (0.37 s); the paper has 512" in text and "2 steps" in text
    assert len(list((out / "sweep").glob("*.safetensors"))) == 4 * 2 * 10


def test_settings_of_a_run_can_be_repeated(reproduced, folder, tmp_path, monkeypatch):
    out, _ = reproduced
    calls = []

    def record(**arguments):
        calls.append(arguments)
        return {"claims": [], "seconds": 0.0, "files": []}

    paper = replace(reproduce._PAPERS["stowell2015"], run=functools.wraps(experiment.run)(record))
    monkeypatch.setitem(reproduce._PAPERS, "stowell2015", paper)
    arguments = ["--data", str(folder), "--config", str(out / "settings.yaml"), "--seed", "7"]
    assert cli.main(["reproduce", "stowell2015", *arguments, "-q"]) == 0
    (call,) = calls
    expected = {"steps": 2, "penalty": [12.0], "penalty_reduction": "sum", "optimizer": ["adadelta", "adam"]}
    expected |= {"snr_intrinsic": -10.0, "snr_extrinsic": -30.0, "frames": 128, "seeds": 1, "seed": 7}
    assert expected.items() <= call.items()


def test_committed_rows_of_earlier_versions_are_readable():
    folder = Path(experiment.__file__).resolve().parents[3] / "bench" / "results" / "stowell2015"
    for table in (folder / "results.csv", folder / "at_0_dB" / "results.csv"):
        with open(table, newline="") as file:
            rows = [
                {k: float(v) if k.endswith("_db") or (k == "share" and v) else v or None for k, v in row.items()}
                for row in csv.DictReader(file)
            ]
        ((configuration, selected),) = scores.configurations(rows).items()
        assert configuration == ("adadelta", 0.75)
        text = (table.parent / "claims.md").read_text()
        for claim in claims.check_claims(selected):
            verdict = re.search(rf"^\| {claim.letter} \| .*?\| \*\*(.*?)\*\* \|", text, re.MULTILINE)
            assert verdict and verdict[1] == ("holds" if claim.holds else "does not hold")


def test_gains_are_paired_by_noise_and_seed():
    rows = []
    for seed, (partitioned, dae) in enumerate([(1.0, 5.0), (4.0, 2.0)]):
        key = {"condition": "matched", "intrinsic": "a", "extrinsic": "a", "seed": seed, "reference": "truly clean"}
        rows.append({**key, "method": "partitioned", "share": 75.0, "part": "signal", "snr_db": partitioned})
        rows.append({**key, "method": "denoising", "share": None, "part": "whole", "snr_db": dae})
    assert claims.paired_gains(rows, "matched", 75.0).tolist() == [[-4.0], [2.0]]


def test_models_have_fewer_steps_in_a_run_without_data(folder, tmp_path, monkeypatch):
    def sweep(members, out, steps, *_, **__):
        raise UserError(f"{steps} steps")

    monkeypatch.setattr(experiment, "Sweep", sweep)
    monkeypatch.setenv("PARTAE_CORPORA", str(tmp_path))
    (tmp_path / "stowell2015").symlink_to(folder)
    for recordings, steps in ((None, 1000), (folder, 2000)):
        with pytest.raises(UserError, match=f"^{steps} steps"):
            experiment.run(tmp_path / "out", recordings)


def test_existing_run_is_not_overwritten(reproduced, folder, capsys):
    out, _ = reproduced
    assert cli.main(["reproduce", "stowell2015", "--data", str(folder), "--out", str(out), "--steps", "2"]) == 2
    assert "resume it or choose another folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("present", "message"),
    [
        ((), "no such folder"),
        (("noise_a/x.wav", "noise_b/x.wav"), "has no signal/ and 2 noise_NAME/"),
        (("signal/x.wav", "noise_a/x.wav"), "has signal/ and 1 noise_NAME/"),
        (("signal/x.txt", "noise_a/x.wav", "noise_b/x.wav"), "signal: no audio file"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/low.wav"), "low.wav: the rate is 8000 Hz"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/short.wav"), "intrinsic b: the quarter for validation lasts"),
        (("signal/x.wav", "noise_a/x.wav", "noise_b/silent.wav"), "silent.wav: silent in the band"),
    ],
)
def test_unsuitable_folders_are_rejected_in_one_line(present, message, tmp_path, capsys):
    for name in present:
        seconds, level = (1, 0.1) if "short" in name else (4, 0.0 if "silent" in name else 0.1)
        path = tmp_path / "data" / name
        write(path.with_suffix(".wav"), seconds, 1, level, 8000 if "low" in name else RATE)
        path.with_suffix(".wav").rename(path)
    code = cli.main(
        ["reproduce", "stowell2015", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "-q"]
    )
    err = capsys.readouterr().err
    assert code == 2 and message in err and err.count("\n") == 1


def test_unknown_paper_is_rejected_with_a_list_of_papers(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["reproduce", "stowell2016", "--data", "."])
    assert stop.value.code == 2 and "stowell2015" in capsys.readouterr().err


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is absent")
def test_project_recordings_are_recognised():
    recordings = data.load(SHARED)
    assert [noise.name for noise in recordings.noises] == ["crowd", "ambient_5", "diffuse"]
    assert sum(map(len, recordings.songs.training)) / recordings.spectrogram.frame_rate == pytest.approx(30, abs=0.1)
    assert data.crop_frames(recordings) == 128
