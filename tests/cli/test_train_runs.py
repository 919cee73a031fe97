"""Tests of runs of `partae train`: processes, records, locks and resuming."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from partae_fast.file_lock import only_writer

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ("train", "song.wav", "--noise", "noise.wav", "--out", "new.safetensors", "--threads", "1")
RECORD = Path("new.safetensors.history.jsonl")


def rows(path=RECORD):
    return [line for line in map(json.loads, path.read_text().splitlines()) if "begin" not in line]


@contextlib.contextmanager
def torchrun(*arguments, ranks=2):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), "-m", "partae_fast"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:  # torchrun ends its processes on SIGTERM, but not when it is killed
        if process.poll() is None:
            process.terminate()
            process.communicate()


def test_two_processes_reach_the_losses_of_one(here, partae):
    with torchrun(*TRAIN, "--steps", 20) as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("20 steps") == 1 and err.count("spectrogram:") == 1  # only rank 0 prints
    assert not Path("new.safetensors.checkpoint").exists()
    of_two = rows()
    assert [(row["model"], row["step"]) for row in of_two] == [
        ("conv_partitioned", 5),
        ("conv_denoising", 7),
        ("conv_denoising", 8),
    ]
    assert partae(*TRAIN, "--steps", 20, "--overwrite")[0] == 0
    of_one = rows()
    np.testing.assert_allclose([row["loss"] for row in of_two], [row["loss"] for row in of_one], rtol=1e-4)
    assert of_two[0]["loss"] == pytest.approx(of_one[0]["loss"], rel=1e-5)


@pytest.mark.slow
def test_one_process_resumes_a_run_of_two(here, partae):
    with torchrun(*TRAIN, "--steps", 1_000_000, "--preset", "stowell2015") as process:
        while "encode on cpu" not in (line := process.stderr.readline()):
            assert line
        process.send_signal(signal.SIGTERM)
        err = process.communicate(timeout=300)[1]
    assert err.count("partae train: stopped; the checkpoint is new.safetensors.checkpoint") == 1
    done = json.loads(partae("info", "new.safetensors.checkpoint", "--json")[1])["step"]
    options = ("--steps", done + 2, "--preset", "stowell2015")
    code, _, err = partae(*TRAIN, *options, "--resume")
    assert code == 0 and "not to the same bits: ranks was 2, is 1" in err
    assert [row["step"] for row in rows()][-1] == done + 2


def test_only_model_and_record_are_left(here, partae):
    before = set(os.listdir())
    assert partae(*TRAIN, "--steps", 5)[0] == 0
    assert set(os.listdir()) - before == {"new.safetensors", RECORD.name}
    headers = [json.loads(line) for line in RECORD.read_text().splitlines() if "begin" in line]
    assert [line["begin"] for line in headers] == ["conv_partitioned", "conv_denoising", "conv_denoising"]
    assert headers[0]["spectrogram"]["bins"] == 128 and headers[0]["run"]["optimizer"] == "adam"


def test_tensorboard_curves(here, partae):
    pytest.importorskip("tensorboard")
    assert partae(*TRAIN, "--steps", 5, "--log", "tensorboard")[0] == 0
    folders = sorted(path.parent.name for path in Path("new.safetensors.tensorboard").rglob("events*"))
    assert folders == ["1-conv_partitioned", "2-conv_denoising", "3-conv_denoising"]


def test_second_writer_of_a_model_is_refused(partae):
    with only_writer("new.safetensors"):
        code, _, err = partae(*TRAIN, "--steps", 2)
    assert code == 2 and "new.safetensors: another process is writing it" in err and err.count("\n") == 1
    with only_writer("new.safetensors.checkpoint"):
        code, _, err = partae(*TRAIN, "--steps", 2, "--quiet")
    assert code == 2 and "new.safetensors.checkpoint: another process is writing it" in err


def test_run_is_resumed_with_its_number_of_steps_only(here, partae, monkeypatch):
    from partae_fast.training.session import Session

    def stop(session, model, sampler, steps, *arguments, real=Session.train, **settings):
        real(session, model, sampler, steps - 1, *arguments, **settings)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Session, "train", stop)
        assert partae(*TRAIN, "--steps", 10)[0] == 130
    code, _, err = partae(*TRAIN, "--steps", 12, "--resume", "--quiet")
    assert code == 2 and "started for 8 to 10 steps" in err and "--steps 10" in err and err.count("\n") == 1
    assert partae(*TRAIN, "--steps", 10, "--resume")[0] == 0


def test_one_step_logs_that_the_last_model_is_untrained(partae):
    code, _, err = partae(*TRAIN, "--steps", 1)
    assert code == 0 and "leaves no steps for the denoising model" in err


def test_torchrun_with_another_verb_is_refused(partae, monkeypatch):
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    code, _, err = partae("info")
    assert code == 2 and "torchrun works with `train` alone" in err
