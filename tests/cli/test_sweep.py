"""Tests of `partae sweep`: results, refused input, stopping and resuming."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

import partae_fast as pf
from partae_fast.sweeps import figure as sweep_figure
from partae_fast.training import trainer as trainer_module
from partae_fast.training.steps import train_steps
from tests.calls import fit

from .conftest import ROOT, sound, write

MATERIAL = ("song.wav", "--noise", "noise.wav", "--threads", "1")
GRID = ("--set", "penalty=0.5,2", "--set", "pool=8,16")


@pytest.fixture
def no_plot(monkeypatch):
    monkeypatch.setattr(sweep_figure, "figure", lambda path, rows, losses: None)


def rewrite(path, samples):
    os.remove(path)
    write(path, samples)


def models(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_grid_writes_table_plot_and_models(partae, here):
    code, out, err = partae("sweep", *MATERIAL, *GRID, "--steps", 3, "--out", "s")
    assert code == 0, err
    names = [f"penalty={p}_pool={k}" for p in ("0.5", "2") for k in (8, 16)]
    lines = out.splitlines()
    assert lines[0].split() == ["name", "steps", "loss", "error", "leak", "keep"]
    assert [line.split()[:2] for line in lines[1:5]] == [[name, "3"] for name in names]
    assert lines[5].startswith("s: 4 models, 0 failed")
    assert "spectrogram: " in err and "s: 4 of 4 models trained, 0 failed; 12 steps" in err
    with open("s/results.csv") as file:
        assert [(row["name"], row["status"]) for row in csv.DictReader(file)] == [(name, "done") for name in names]
    assert (here / "s" / "results.png").stat().st_size > 1000
    # The models equal those of `fit` and can denoise.
    torch.set_num_threads(1)
    assert partae("denoise", "s/penalty=2_pool=16.safetensors", "song.wav", "--out", "clean.wav")[0] == 0
    assert partae("sweep", *MATERIAL, "--set", "seed=3", "--steps", 3, "--out", "t", "--quiet")[0] == 0
    fitted = fit(["song.wav"], noise=["noise.wav"], system="stowell2015", steps=3, seed=3)
    model = pf.load("t/seed=3.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fitted.parameters(), strict=True))
    assert (model.spectrogram, model.mask, model.config()) == (fitted.spectrogram, fitted.mask, fitted.config())


def test_json_equals_the_table(partae, no_plot):
    options = ("--low", 1000, "--bins", 20, "--set", "frames=64,96", "--set", "batch=4", "--steps", 2)
    code, out, _ = partae("sweep", *MATERIAL, *options, "--out", "s", "--json")
    result = json.loads(out)
    assert code == 0 and result["folder"] == "s" and result["seconds"] > 0
    assert [(row["frames"], row["batch"], row["steps"]) for row in result["members"]] == [(64, 4, 2), (96, 4, 2)]
    with open("s/results.json") as file:
        assert json.load(file)["members"] == result["members"]
    assert pf.load("s/frames=64_batch=4.safetensors").spectrogram.bins == 20


def test_short_recordings_train_on_shorter_crops_unless_frames_are_set(partae, no_plot):
    rewrite("noise.wav", sound(0.8, 2))
    code, _, err = partae("sweep", *MATERIAL, *GRID, "--steps", 1, "--out", "s")
    assert code == 0 and err.count("crops have 272 frames instead of 512") == 2  # once per pool size
    code, _, err = partae("sweep", *MATERIAL, "--set", "frames=512", "--steps", 1, "--out", "t", "--quiet")
    assert code == 2 and "noise[0]: the longest recording has 277 frames, but a crop has 512" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "penalti=1"), "setting 'penalti' is not known; choose from penalty, optimizer"),
        (("--set", "penalty=one"), "setting penalty is 'one'; it must be a number"),
        (("--set", "latents=1.5"), "setting latents is '1.5'; it must be a whole number"),
        (("--set", "penalty"), "--set penalty: give NAME=V1,V2"),
        (("--set", "seed=1", "--set", "seed=2"), "--set seed is given twice"),
        (("--set", "optimizer=lbfgs"), "optimizer 'lbfgs' is not known"),
        (("--set", "background=2"), "background is 2"),
        (("--set", "seed=1,1"), "two members are called seed=1"),
        (("--set", "seed=1", "--backend", "triton"), "triton"),
        (("--set", "seed=1", "--out", "song.wav/s"), "song.wav/s"),
        (("--set", "seed=1", "--preset", "none"), "model 'none' is not known"),
        (("--steps", "2"), "--set"),
    ],
)
def test_bad_arguments_are_refused(partae, here, options, message):
    code, out, err = partae("sweep", *MATERIAL, "--out", "s", *options, "--quiet")
    assert (code, out) == (2, "") and err.count("\n") == 1 and message in err
    assert sorted(p.name for p in here.rglob("*") if p.is_file()) == ["m.safetensors", "noise.wav", "song.wav"]


def test_folder_of_another_sweep_is_refused_before_recordings_are_read(partae, no_plot, monkeypatch):
    assert partae("sweep", *MATERIAL, "--set", "seed=0", "--steps", 1, "--out", "s")[0] == 0
    rewrite("noise.wav", sound(2, 9))
    again = ("sweep", *MATERIAL, "--set", "seed=0,1", "--steps", 1, "--out", "s", "--quiet")
    code, _, err = partae(*again, "--resume")
    assert code == 2 and "a sweep of other recordings or settings" in err and "magnitudes_sha256 was" in err
    monkeypatch.setattr("partae_fast.systems.convolutional.prepare", None)
    code, _, err = partae(*again)
    assert code == 2 and "a sweep is in this folder; resume it" in err


def test_failed_model_is_marked_and_sets_the_exit_code(partae, here, no_plot):
    grid = ("--set", "optimizer=adam", "--set", "learning_rate=1e-3,1e30")
    code, out, err = partae("sweep", *MATERIAL, *grid, "--steps", 5, "--out", "s", "--json")
    good, bad = json.loads(out)["members"]
    assert code == 1 and (good["status"], bad["status"]) == ("done", "failed") and bad["steps"] < 5
    assert f"failed: the loss is inf at step {bad['steps']}; try a lower learning rate" in err
    assert list(models(here / "s")) == [good["model"]]


@pytest.mark.parametrize("at", [2, 4])
def test_stop_and_resume_give_the_same_files(partae, here, no_plot, monkeypatch, at):
    launches = []

    def launch(runs, first, steps, *backend):
        launches.append(steps)
        if len(launches) == at:
            os.kill(os.getpid(), signal.SIGINT)
        return train_steps(runs, first, steps, *backend)

    command = ("sweep", *MATERIAL, *GRID, "--steps", 7)
    with monkeypatch.context() as patch:
        patch.setattr(trainer_module, "train_steps", launch)
        code, out, err = partae(*command, "--out", "s", "--quiet")
    assert (code, out) == (130, "") and "the same command with --resume continues" in err and err.count("\n") == 1
    assert partae(*command, "--out", "s", "--resume")[0] == 0
    assert partae(*command, "--out", "whole")[0] == 0
    assert models(here / "s") == models(here / "whole")
    assert (here / "s" / "results.csv").read_text() == (here / "whole" / "results.csv").read_text()


def test_ctrl_c_stops_within_a_minute(partae, here):
    command = [sys.executable, "-m", "partae_fast", "sweep", *MATERIAL, "--set", "seed=0,1", "--out", "s"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--steps", "1000000"], env=environment, stderr=subprocess.PIPE, text=True)
    limit = threading.Timer(120, process.kill)
    limit.start()
    try:
        while "train_steps on cpu" not in process.stderr.readline():  # the first launch follows
            pass
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        err = process.communicate(timeout=60)[1]
    finally:
        limit.cancel()
        process.kill()
    assert process.returncode == 130 and "Traceback" not in err, err
    with open("s/results.json") as file:
        rows = json.load(file)["members"]
    assert [row["status"] for row in rows] == ["unfinished"] * 2 and rows[0]["steps"] == rows[1]["steps"] > 0


def test_system_of_several_models_is_refused(partae):
    code, _, err = partae("sweep", *MATERIAL, "--preset", "field", "--set", "seed=1", "--out", "s")
    assert code == 2 and "model field cannot be swept" in err
