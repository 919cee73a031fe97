"""Stopped, killed and concurrent processes: files are complete, and no partial files remain."""

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


def model_with_mean(number):
    """Return a model that takes several system calls to write."""
    model = pf.ConvPartitionedAutoencoder(bins=32, latents=32, taps=9, pool=16)
    model.mean.fill_(number)
    return model


def fork(function):
    """Run `function` in a forked child process; return its process id."""
    process = os.fork()
    if process:
        return process
    try:
        atomic._remove_abandoned_once.cache_clear()  # as in a new process
        function()
        os._exit(0)
    finally:
        os._exit(1)


def test_a_model_survives_kills_during_saves(tmp_path):
    path = tmp_path / "m.safetensors"
    models, random_delay = [model_with_mean(number) for number in range(2)], random.Random(0)
    pf.save(models[0], path)
    states = [model.state_dict() for model in models]
    partial_files = 0
    read_end, write_end = os.pipe()

    def save_repeatedly():
        pf.save(models[1], path)
        os.write(write_end, b"1")
        while True:
            for model in models[::-1]:
                pf.save(model, path)

    for _ in range(40):
        process = fork(save_repeatedly)
        os.read(read_end, 1)
        time.sleep(random_delay.random() * 0.006)
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        state = pf.load(path).state_dict()  # an incomplete file would raise
        expected = states[int(state["mean"][0])]
        assert all(torch.equal(state[name], expected[name]) for name in expected)
        others = len(os.listdir(tmp_path)) - 1
        assert others <= 1  # each process removes the partial file of the one before
        partial_files += others
    assert partial_files >= 4  # enough processes were killed during a save
    os.close(read_end)
    os.close(write_end)
    assert os.waitpid(fork(lambda: pf.save(models[0], path)), 0)[1] == 0
    assert os.listdir(tmp_path) == [path.name]


def test_two_concurrent_writers_leave_one_complete_file(tmp_path):
    path = tmp_path / "m.safetensors"
    models = [model_with_mean(number) for number in range(2)]

    def save_often(model):
        for _ in range(40):
            pf.save(model, path)

    pf.save(models[0], path)
    writers = [fork(lambda model=model: save_often(model)) for model in models]
    means = []
    while writers:
        means.append(int(pf.load(path).mean[0]))
        writers = [writer for writer in writers if not os.waitpid(writer, os.WNOHANG)[0]]
    assert set(means) <= {0, 1} and os.listdir(tmp_path) == [path.name]


TRAIN = ("train", "song.wav", "--noise", "noise.wav", "--preset", "stowell2015", "--backend", "cpu", "--threads", "1")


@stops
def test_training_stopped_during_a_launch_resumes_to_the_same_bits(partae, here, monkeypatch, number, code):
    """The running launch completes, and the checkpoint has its steps."""
    train_steps, launches = trainer.train_steps, []

    def stop_in_the_third_launch(runs, first, steps, *backend):
        launches.append(steps)
        if len(launches) == 3:
            os.kill(os.getpid(), number)
        return train_steps(runs, first, steps, *backend)

    out = ("--out", "stopped.safetensors", "--steps", 12)
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "train_steps", stop_in_the_third_launch)
        exit_code, _, err = partae(*TRAIN, *out, "--quiet")
    assert exit_code == code and err.count("\n") == 1 and "Traceback" not in err
    assert "stopped; the checkpoint is stopped.safetensors.checkpoint" in err and "--resume" in err
    assert not Path("stopped.safetensors").exists()
    assert pf.models.storage.describe("stopped.safetensors.checkpoint")["step"] == sum(launches) < 12
    assert partae(*TRAIN, *out, "--resume")[0] == 0
    assert partae(*TRAIN, "--out", "whole.safetensors", "--steps", 12)[0] == 0
    assert Path("stopped.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


@stops
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
def test_denoising_stopped_in_a_file_leaves_all_files_unchanged(partae, here, monkeypatch, number, code, overwrite):
    write("long.wav", np.tile(sound(2, 3), (40, 1)))  # four chunks
    if overwrite:
        write("clean.wav", sound(1, 4))
    before = {path: path.read_bytes() for path in here.iterdir()}
    write_block, written = files.AudioWriter.write, []

    def stop_in_the_second_block(self, samples):
        write_block(self, samples)
        written.append(len(samples))
        if len(written) == 2:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(files.AudioWriter, "write", stop_in_the_second_block)
    exit_code, out, err = partae(
        "denoise", "m.safetensors", "long.wav", "--out", "clean.wav", "--quiet", *(["--overwrite"] if overwrite else [])
    )
    assert (exit_code, out) == (code, "") and err == "partae denoise: stopped\n"
    assert sum(written) < 80 * RATE
    assert {path: path.read_bytes() for path in here.iterdir()} == before
