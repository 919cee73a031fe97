"""The experiment of Lusterman 2016: what is trained, what is measured, the rules of its claims, and what is written."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.experiments.lusterman2016 import claims, experiment, figure, members
from partae_fast.experiments.lusterman2016.curves import Curves
from partae_fast.experiments.lusterman2016.members import CURRO, PARTITIONED, SNRS, SUPERVISED, SUPERVISED_PLAIN, Member

SIZES = {
    SUPERVISED: (("layers", "16"),),
    SUPERVISED_PLAIN: (("layers", "16"),),
    PARTITIONED: (("latents", 16),),
    CURRO: (("hidden", 16), ("latents", 8), ("decoder", 8)),
}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """Output folder and printed JSON of figure 13, all systems at the lowest SNR, from two steps of small models."""
    out = tmp_path_factory.mktemp("out") / "chords"
    narrow = [Member(base, -6.0, seed, sizes=SIZES[base]) for base in members.SYSTEMS for seed in (4, 5)]
    arguments = ["--figure", 13, "--steps", 4, "--jobs", 1, "--out", out, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "members", lambda *_: narrow)
        patch.setattr(experiment, "MSE_EVERY", 2)
        patch.setattr(experiment, "LOSS_EVERY", 2)
        patch.setattr(members, "EXAMPLE", 2048)
        assert cli.main(["reproduce", "lusterman2016", *map(str, arguments)]) == 0
        again = experiment.run(out, steps=4, figure=13, jobs=1, resume=True)
        with pytest.raises(UserError, match=r"runs: holds an earlier run; go on with --resume"):
            experiment.run(out, steps=4, figure=13, jobs=1)
        with pytest.raises(UserError, match="is of other settings"):
            experiment.run(out, steps=6, figure=13, jobs=1, resume=True)
    return out, json.loads(printed.getvalue()), again


def test_a_run_writes_its_curves_its_figure_and_its_claims(reproduced):
    out, result, _ = reproduced
    assert {path.name for path in out.iterdir()} == {"runs", "curves.csv", "claims.md", "figure13.png"}
    with open(out / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    for system in members.SYSTEMS:
        for seed in ("4", "5"):
            its = [row for row in rows if (row["system"], row["seed"]) == (system, seed)]
            assert [row["step"] for row in its if row["measure"] == "mse"] == ["0", "2", "4"]
            assert [row["step"] for row in its if row["measure"] == "loss"] == ["2", "4"]
            assert np.isfinite([float(row["value"]) for row in its]).all()
    assert [claim["letter"] for claim in result["claims"]] == list("abcdef")
    assert {claim["letter"]: claim["holds"] for claim in result["claims"]}["e"] is None
    assert "| cannot be told |" in (out / "claims.md").read_text().replace("**", "")


def test_what_was_trained_is_not_trained_again(reproduced):
    _, result, again = reproduced
    assert again["claims"] == result["claims"]


def test_the_figures_are_numbered_as_said():
    assert figure.NUMBERED[5] == (SUPERVISED_PLAIN, None, "loss") and figure.NUMBERED[12] == (CURRO, None, "mse")
    assert figure.NUMBERED[13] == (None, -6.0, "loss") and figure.NUMBERED[22] == (None, 6.0, "mse")
    assert figure.needed(22) == [(system, 6.0) for system in members.SYSTEMS]
    assert figure.needed(5) == [(SUPERVISED_PLAIN, snr) for snr in SNRS]


@pytest.mark.parametrize("number", [4, 23])
def test_there_is_no_other_figure(number, capsys):
    assert cli.main(["reproduce", "lusterman2016", "--figure", str(number)]) == 2
    assert f"figure is {number}; choose one of 5 to 22" in capsys.readouterr().err


def curves(system, snr, loss, mse, converged=1):
    """A run whose loss falls in `converged` tens of steps from 1 above where it comes to."""
    falling = [loss + max(0.0, 1 - i / converged) for i in range(100)]
    return Curves(system, snr, 0, falling, [mse] * 10, {}, 1.0)


def all_curves(**changes):
    """Runs for which every claim holds, but for what is changed: mse_PLACE=values over the SNRs, converged_PLACE."""
    mse = {
        "plain": [0.3, 0.2, 0.1, 0.1, 0.1],
        "supervised": [0.4, 0.3, 0.2, 0.2, 0.2],
        "partitioned": [0.9, 0.8, 0.3, 0.05, 0.01],
        "curro": [0.2, 0.2, 0.2, 0.03, 0.03],
    }
    converged = {"plain": 20, "supervised": 20, "partitioned": 50, "curro": 5}
    loss = [5.0, 4.0, 3.0, 2.0, 1.0]
    for name, value in changes.items():
        if name == "loss":
            loss = value
        else:
            (mse if name.startswith("mse_") else converged)[name.partition("_")[2]] = value
    names = dict(zip(("plain", "supervised", "partitioned", "curro"), members.SYSTEMS, strict=True))
    return [
        curves(names[short], snr, loss[i], mse[short][i], converged[short])
        for short in mse
        for i, snr in enumerate(SNRS)
    ]


@pytest.mark.parametrize(
    ("broken", "changes"),
    [
        ("", {}),
        ("a", {"loss": [5.0, 4.0, 4.0, 2.0, 1.0]}),
        ("b", {"converged_curro": 30}),
        ("b", {"converged_partitioned": 10}),
        ("c", {"mse_partitioned": [0.9, 0.25, 0.3, 0.05, 0.01]}),
        ("d", {"mse_partitioned": [0.9, 0.8, 0.3, 0.15, 0.01]}),
        ("e", {"mse_curro": [0.2, 0.2, 0.2, 0.03, 0.005]}),
        ("f", {"mse_plain": [0.5, 0.4, 0.3, 0.1, 0.1]}),
    ],
)
def test_each_claim_falls_with_what_it_says(broken, changes):
    assert {claim.letter for claim in claims.judge(all_curves(**changes)) if not claim.holds} == set(broken)


def test_recorded_noise_is_learnt_from_and_measured_at_other_times(tmp_path):
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) / 9
    files.write(tmp_path / "noise.wav", noise, 16000, "FLOAT")
    member = Member(PARTITIONED, 0.0, 0, members.RECORDED, noise=(str(tmp_path / "noise.wav"),))
    sampler, (clean, noisy) = member.material()
    heard = (noisy - clean).numpy()
    place = np.argmax(np.correlate(noise, heard, "valid"))
    assert place == round(6 * 16000 * 0.8)
    assert np.mean(heard**2) == pytest.approx(float(clean.square().mean()), rel=1e-4)
    assert tuple(sampler.batch_at(0)[0].shape) == (128, 512)
    files.write(tmp_path / "short.wav", noise[:32000], 16000, "FLOAT")
    with pytest.raises(UserError, match="must last 5 s or more"):
        Member(CURRO, 0.0, 0, members.RECORDED, noise=(str(tmp_path / "short.wav"),)).material()


def test_as_the_program_does_it():
    text, program = (Member(PARTITIONED, 0.0, 0, as_program=p, sizes=SIZES[PARTITIONED]) for p in (False, True))
    assert text.model().input.bins == 512 and program.model().input.bins == 1024
    assert text.material()[0].noise_items == 32 and program.material()[0].noise_items == 64
    config = program.model().config()
    assert config["background"] == 0.5 and config["rectified_output"] and config["mean_over_items"]
