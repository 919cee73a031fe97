"""The experiment of Lusterman 2016: models, rules of the claims, figures, and a whole run."""

import contextlib
import csv
import io
import json

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files
from partae_fast.errors import UserError
from partae_fast.experiments.lusterman2016 import claims, experiment, figures, models
from partae_fast.experiments.lusterman2016.models import (
    CURRO,
    PARTITIONED,
    SNRS,
    SUPERVISED,
    SUPERVISED_PLAIN,
    ModelSpec,
)
from partae_fast.experiments.lusterman2016.scores import Curves

SIZES = {
    SUPERVISED: (("layers", "16"),),
    SUPERVISED_PLAIN: (("layers", "16"),),
    PARTITIONED: (("latents", 16),),
    CURRO: (("hidden", 16), ("latents", 8), ("decoder", 8)),
}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """Return the output folder and the printed JSON of a run for figure 13, all systems at -6 dB, and a resumed run."""
    out = tmp_path_factory.mktemp("out") / "chords"
    small = [ModelSpec(base, -6.0, seed, sizes=SIZES[base]) for base in models.SYSTEMS for seed in (4, 5)]
    arguments = ["--figure", 13, "--steps", 4, "--jobs", 1, "--out", out, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "model_specs", lambda *_: small)
        patch.setattr(experiment, "MSE_EVERY", 2)
        patch.setattr(experiment, "LOSS_EVERY", 2)
        patch.setattr(models, "EXAMPLE", 2048)
        assert cli.main(["reproduce", "lusterman2016", *map(str, arguments)]) == 0
        resumed = experiment.run(out, steps=4, figure=13, jobs=1, resume=True)
        with pytest.raises(UserError, match=r"runs: contains an earlier run; continue it with --resume"):
            experiment.run(out, steps=4, figure=13, jobs=1)
        with pytest.raises(UserError, match="was trained with other settings"):
            experiment.run(out, steps=6, figure=13, jobs=1, resume=True)
    return out, json.loads(printed.getvalue()), resumed


def test_run_writes_curves_figure_and_claims(reproduced):
    out, result, _ = reproduced
    assert {path.name for path in out.iterdir()} == {"runs", "curves.csv", "claims.md", "figure13.png"}
    with open(out / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    for system in models.SYSTEMS:
        for seed in ("4", "5"):
            run_rows = [row for row in rows if (row["system"], row["seed"]) == (system, seed)]
            assert [row["step"] for row in run_rows if row["measure"] == "mse"] == ["0", "2", "4"]
            assert [row["step"] for row in run_rows if row["measure"] == "loss"] == ["2", "4"]
            assert np.isfinite([float(row["value"]) for row in run_rows]).all()
    assert [claim["letter"] for claim in result["claims"]] == list("abcdef")
    assert {claim["letter"]: claim["holds"] for claim in result["claims"]}["e"] is None
    assert "| undecided |" in (out / "claims.md").read_text().replace("**", "")


def test_resumed_run_has_the_same_claims(reproduced):
    _, result, resumed = reproduced
    assert resumed["claims"] == result["claims"]


def test_figure_numbers_follow_the_thesis():
    assert figures.NUMBERED[5] == (SUPERVISED_PLAIN, None, "loss") and figures.NUMBERED[12] == (CURRO, None, "mse")
    assert figures.NUMBERED[13] == (None, -6.0, "loss") and figures.NUMBERED[22] == (None, 6.0, "mse")
    assert figures.systems_in(22) == [(system, 6.0) for system in models.SYSTEMS]
    assert figures.systems_in(5) == [(SUPERVISED_PLAIN, snr) for snr in SNRS]


@pytest.mark.parametrize("number", [4, 23])
def test_other_figure_numbers_are_rejected(number, capsys):
    assert cli.main(["reproduce", "lusterman2016", "--figure", str(number)]) == 2
    assert f"figure is {number}; choose a number from 5 to 22" in capsys.readouterr().err


def make_curves(system, snr, loss, mse, converged=1):
    """Return curves whose loss falls from `loss + 1` to `loss` in 10 * `converged` steps."""
    falling = [loss + max(0.0, 1 - i / converged) for i in range(100)]
    return Curves(system, snr, 0, falling, [mse] * 10, {}, 1.0)


def all_curves(**changes):
    """Return curves for which every claim holds.

    A change is `loss` (by SNR), `mse_NAME` (by SNR) or `converged_NAME`, where NAME is a key of the dictionaries below.
    """
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
    names = dict(zip(("plain", "supervised", "partitioned", "curro"), models.SYSTEMS, strict=True))
    return [
        make_curves(names[short], snr, loss[i], mse[short][i], converged[short])
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
def test_each_claim_can_fail(broken, changes):
    assert {claim.letter for claim in claims.check_claims(all_curves(**changes)) if not claim.holds} == set(broken)


def test_recorded_noise_of_the_example_is_held_out_from_training(tmp_path):
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) / 9
    files.write(tmp_path / "noise.wav", noise, 16000, "FLOAT")
    spec = ModelSpec(PARTITIONED, 0.0, 0, models.RECORDED, noise=(str(tmp_path / "noise.wav"),))
    sampler, (clean, noisy) = spec.training_data()
    added = (noisy - clean).numpy()
    start = np.argmax(np.correlate(noise, added, "valid"))
    assert start == round(6 * 16000 * 0.8)
    assert np.mean(added**2) == pytest.approx(float(clean.square().mean()), rel=1e-4)
    assert tuple(sampler.batch_at(0)[0].shape) == (128, 512)
    files.write(tmp_path / "short.wav", noise[:32000], 16000, "FLOAT")
    with pytest.raises(UserError, match="must last 5 s or more"):
        ModelSpec(CURRO, 0.0, 0, models.RECORDED, noise=(str(tmp_path / "short.wav"),)).training_data()


def test_models_follow_the_text_or_the_program():
    text, program = (ModelSpec(PARTITIONED, 0.0, 0, as_program=p, sizes=SIZES[PARTITIONED]) for p in (False, True))
    assert text.model().input.bins == 512 and program.model().input.bins == 1024
    assert text.training_data()[0].noise_items == 32 and program.training_data()[0].noise_items == 64
    config = program.model().config()
    assert config["background"] == 0.5 and config["rectified_output"] and config["mean_over_items"]
