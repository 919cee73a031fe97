"""The experiment of Lusterman 2016: models, rules of the claims, figures, and a whole run."""

import contextlib
import csv
import io
import json
import multiprocessing
import signal
import time
from dataclasses import replace

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
    """Return the output folder and the printed JSON of a run for figure 14, at -6 dB, and those of a resumed run."""
    out = tmp_path_factory.mktemp("out") / "chords"
    small = [ModelSpec(base, -6.0, seed, sizes=SIZES[base]) for base in models.SYSTEMS for seed in (4, 5)]
    small += [ModelSpec(PARTITIONED, -6.0, 4, as_program=True, sizes=SIZES[PARTITIONED])]
    arguments = ["--figure", 14, "--steps", 4, "--jobs", 1, "--as-program", "--out", out, "--json", "-q"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setattr(experiment, "model_specs", lambda *_: small)
        patch.setattr(experiment, "MSE_EVERY", 2)
        patch.setattr(experiment, "LOSS_EVERY", 2)
        patch.setattr(models, "EXAMPLE", 2048)
        assert cli.main(["reproduce", "lusterman2016", *map(str, arguments)]) == 0
        resumed = experiment.run(out, steps=4, figure=14, jobs=1, as_program=True, resume=True)
        with pytest.raises(UserError, match=r"runs: contains an earlier run; continue it with --resume"):
            experiment.run(out, steps=4, figure=14, jobs=1)
        with pytest.raises(UserError, match="was trained with other settings"):
            experiment.run(out, steps=6, figure=14, jobs=1, resume=True)
    return out, json.loads(printed.getvalue()), resumed


def test_run_writes_curves_figure_and_claims(reproduced):
    out, result, _ = reproduced
    names = {"runs", "curves.csv", "claims.md", "settings.yaml", "figure14.png", "figure14_program.png"}
    assert {path.name for path in out.iterdir()} == names
    with open(out / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    for system in models.SYSTEMS:
        for seed in ("4", "5"):
            key = ("text", system, seed)
            run_rows = [row for row in rows if (row["version"], row["system"], row["seed"]) == key]
            assert [float(row["value"]) > 0 for row in run_rows if row["measure"] == "input_mse"] == [True]
            assert [row["step"] for row in run_rows if row["measure"] == "mse"] == ["0", "2", "4"]
            assert [row["step"] for row in run_rows if row["measure"] == "loss"] == ["2", "4"]
            assert np.isfinite([float(row["value"]) for row in run_rows]).all()
    letters = [*"abcdefg", *(f"{letter}_program" for letter in "abcdefg")]
    assert [claim["letter"] for claim in result["claims"]] == letters
    assert {claim["letter"]: claim["holds"] for claim in result["claims"]}["e"] is None
    text = (out / "claims.md").read_text()
    assert "| undecided |" in text.replace("**", "") and "## The claims, as the program does" in text
    assert "| text | partitioned | -6 |" in text and "| program | partitioned | -6 |" in text


def test_resumed_run_has_the_same_claims(reproduced):
    _, result, resumed = reproduced
    assert resumed["claims"] == result["claims"]


def test_an_interrupt_ends_models_that_are_being_trained():
    """A termination signal reaches only the first process, which waited for its models. Other processes go on."""
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    other.start()
    children = []

    def interrupt(*_):
        children.extend(child for child in multiprocessing.active_children() if child.pid != other.pid)
        raise KeyboardInterrupt

    specs = [ModelSpec(SUPERVISED, 0.0, seed, sizes=SIZES[SUPERVISED]) for seed in (0, 1)]
    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(2)
    try:
        with pytest.raises(KeyboardInterrupt):
            list(experiment._train_all(specs, 10_000, "cpu", "cpu", 2))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        alive = other.is_alive()
        other.kill()
    assert alive and [child.exitcode for child in children] == [-signal.SIGTERM] * 2


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
        "curro": [0.2, 0.1, 0.05, 0.03, 0.03],
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
        ("g", {"mse_curro": [0.2, 0.1, 0.15, 0.03, 0.03]}),
        ("d", {"mse_partitioned": [0.9, 0.8, 0.3, 0.15, 0.01]}),
        ("e", {"mse_curro": [0.2, 0.1, 0.05, 0.03, 0.005]}),
        ("f", {"mse_plain": [0.5, 0.4, 0.3, 0.1, 0.1]}),
        ("g", {"mse_curro": [0.35, 0.1, 0.05, 0.03, 0.03]}),  # above the system without batch normalisation
    ],
)
def test_each_claim_can_fail(broken, changes):
    assert {claim.letter for claim in claims.check_claims(all_curves(**changes)) if not claim.holds} == set(broken)


def test_differences_of_the_mse_have_intervals_over_the_seeds():
    curves = all_curves()
    curves += [replace(c, seed=1, mse=[x + 0.02 * (c.system == CURRO) for x in c.mse]) for c in curves]
    figures = claims.check_claims(curves)[-1].figures
    assert "-6 dB: Curro minus supervised -0.1900 [-0.2000, -0.1800]" in figures


def test_the_example_has_128_frames():
    spec = ModelSpec(SUPERVISED, 0.0, 0)
    clean, noisy = spec.training_data()[1]
    assert spec.model().spectrogram.frame_count(len(clean)) == 128 and len(noisy) == len(clean)


@pytest.mark.parametrize("as_program", [False, True])
def test_zeros_of_noise_only_items_count_in_the_snr_of_the_text(as_program):
    sampler, _ = ModelSpec(PARTITIONED, 0.0, 0, as_program=as_program).training_data()
    clean = sampler._signal(0)
    with_signal = float(clean[sampler.noise_items :].square().mean())
    share = 1 if as_program else 1 - sampler.noise_items / 128
    # The program takes the variance for the deviation.
    assert float(sampler._gain(clean)) == pytest.approx((share * with_signal) ** (1 if as_program else 0.5), rel=1e-4)


def test_figures_of_the_mse_have_a_line_for_the_noisy_input(monkeypatch):
    curves = [replace(c, input_mse=0.5 - c.snr / 100) for c in all_curves()]
    drawn = {}
    monkeypatch.setattr(figures, "_save", lambda figure, path: drawn.update({path: figure.axes[0]}))
    for number in (12, 13, 14):
        figures.draw_figure(number, curves, number)

    def dashed(number):
        return [
            line.get_ydata()[0]
            for line in drawn[number].lines
            if line.get_linestyle() == "--" and len(line.get_ydata())
        ]

    assert dashed(12) == pytest.approx([0.56, 0.53, 0.5, 0.47, 0.44])
    assert dashed(14) == pytest.approx([0.56]) and not dashed(13)
    assert "noisy input" in [text.get_text() for text in drawn[14].get_legend().get_texts()]


def test_models_of_the_program_are_beside_those_of_the_text():
    text, both = (models.model_specs(2, 0, as_program, False, ()) for as_program in (False, True))
    assert len(text) == 4 * 5 * 2 and [spec for spec in both if not spec.as_program] == text
    assert len(both) == 2 * len(text) and {spec.version for spec in both} == {"text", "program"}


def test_recorded_noise_of_the_example_is_held_out_from_training(tmp_path):
    noise = np.random.default_rng(0).standard_normal(6 * 16000).astype(np.float32) / 9
    files.write(tmp_path / "noise.wav", noise, 16000, "FLOAT")
    spec = ModelSpec(PARTITIONED, 0.0, 0, models.RECORDED, noise=(str(tmp_path / "noise.wav"),))
    sampler, (clean, noisy) = spec.training_data()
    added = (noisy - clean).numpy()
    held_out = noise[round(6 * 16000 * 0.8) :]
    assert np.corrcoef(added, np.resize(held_out, len(added)))[0, 1] > 0.999  # repeated, because it is shorter
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
