"""Processes that are stopped or killed, and two at once: a file is the old one or the new one, and nothing is left."""

import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast import atomic
from partae_fast.audio import files
from partae_fast.training import trainer
from tests.cli.conftest import RATE, sound, write

STOPS = {"SIGINT": (signal.SIGINT, 130), "SIGTERM": (signal.SIGTERM, 143)}
stops = pytest.mark.parametrize(("number", "code"), STOPS.values(), ids=STOPS)


def model(number):
    """Large enough that writing it takes several calls of the system."""
    made = pf.ConvPartitionedAutoencoder(bins=32, latents=32, taps=9, pool=16)
    made.mean.fill_(number)
    return made


def child(work):
    """Fork; the child does `work` and ends. Returns its process id."""
    process = os.fork()
    if process:
        return process
    try:
        atomic._remove_abandoned_once.cache_clear()  # as a new process has it
        work()
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_in_mid_save_a_hundred_times(tmp_path):
    path = tmp_path / "m.safetensors"
    models, pick = [model(number) for number in range(2)], random.Random(0)
    pf.save(models[0], path)
    known = {number: made.state_dict() for number, made in enumerate(models)}
    left = 0
    ready, begun = os.pipe()

    def save_on_and_on():
        pf.save(models[1], path)
        os.write(begun, b"1")
        while True:
            for made in models[::-1]:
                pf.save(made, path)

    for _ in range(100):
        process = child(save_on_and_on)
        os.read(ready, 1)
        time.sleep(pick.random() * 0.006)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        found = pf.load(path).state_dict()  # whole, or it would be refused
        wanted = known[int(found["mean"][0])]
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
        others = len(os.listdir(tmp_path)) - 1
        assert others <= 1  # each process sweeps what the one before left
        left += others
    assert left >= 10  # it was in mid-save that they were killed
    os.close(ready)
    os.close(begun)
    assert os.waitpid(child(lambda: pf.save(models[0], path)), 0)[1] == 0
    assert os.listdir(tmp_path) == [path.name]


def test_two_writers_at_once(tmp_path):
    path = tmp_path / "m.safetensors"
    models = [model(number) for number in range(2)]

    def save_often(made):
        for _ in range(40):
            pf.save(made, path)

    pf.save(models[0], path)
    writers = [child(lambda made=made: save_often(made)) for made in models]
    seen = []
    while writers:
        seen.append(int(pf.load(path).mean[0]))
        writers = [writer for writer in writers if not os.waitpid(writer, os.WNOHANG)[0]]
    assert set(seen) <= {0, 1} and os.listdir(tmp_path) == [path.name]


TRAIN = ("train", "song.wav", "--noise", "noise.wav", "--preset", "stowell2015", "--backend", "cpu", "--threads", "1")


@stops
def test_training_stopped_in_mid_launch(partae, here, monkeypatch, number, code):
    """The launch that is under way ends, its steps are in the checkpoint, and the rest comes to the same bits."""
    real, launches = trainer.train_steps, []

    def stopped_in_the_third(runs, first, steps, backend):
        launches.append(steps)
        if len(launches) == 3:
            os.kill(os.getpid(), number)
        return real(runs, first, steps, backend)

    out = ("--out", "stopped.safetensors", "--steps", 12)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_steps", stopped_in_the_third)
        found, _, err = partae(*TRAIN, *out, "--quiet")
    assert found == code and err.count("\n") == 1 and "Traceback" not in err
    assert "stopped; the checkpoint is stopped.safetensors.checkpoint" in err and "--resume" in err
    assert not Path("stopped.safetensors").exists()
    assert pf.models.storage.describe("stopped.safetensors.checkpoint")["step"] == sum(launches) < 12
    assert partae(*TRAIN, *out, "--resume")[0] == 0
    assert partae(*TRAIN, "--out", "whole.safetensors", "--steps", 12)[0] == 0
    assert Path("stopped.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


@stops
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "over an old one"])
def test_denoising_stopped_in_mid_file(partae, here, monkeypatch, number, code, overwrite):
    write("long.wav", np.tile(sound(2, 3), (8, 1)))
    if overwrite:
        write("clean.wav", sound(1, 4))
    before = {path: path.read_bytes() for path in here.iterdir()}
    real, written = files.AudioWriter.write, []

    def stopped_in_the_second(self, samples):
        real(self, samples)
        written.append(len(samples))
        if len(written) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(files.AudioWriter, "write", stopped_in_the_second)
    found, out, err = partae(
        "denoise", "m.safetensors", "long.wav", "--out", "clean.wav", "--quiet", *(["--overwrite"] if overwrite else [])
    )
    assert (found, out) == (code, "") and err == "partae denoise: stopped\n"
    assert sum(written) < 16 * RATE
    assert {path: path.read_bytes() for path in here.iterdir()} == before
