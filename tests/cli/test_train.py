"""Tests of `partae train`: results, refused input, stopping and resuming."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.audio import files
from partae_fast.cli import train as train_verb
from partae_fast.evaluation.diagnostics import diagnose
from tests.calls import fit, prepare

from .bad_files import AUDIO, UNFIT_FOR_TRAINING, assert_message, cases
from .conftest import FAST, ROOT, sound, write

TRAIN = ("--noise", "noise.wav", "--out", "new.safetensors", *FAST)


def test_train_writes_the_model_of_fit_and_removes_the_checkpoint(partae, here):
    code, out, _ = partae("train", "song.wav", *TRAIN, "--seed", 3, "--json")
    result = json.loads(out)
    assert code == 0 and result["model"] == "new.safetensors" and result["steps"] == 3
    torch.set_num_threads(1)
    fitted = fit(["song.wav"], noise=["noise.wav"], steps=3, seed=3, backend="eager")
    model = pf.load("new.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), fitted.parameters(), strict=True))
    assert result["loss"] == pytest.approx(fitted.history.loss[-1])  # the last model takes one of the three steps
    assert not list(here.glob("*.checkpoint*"))


def test_train_prints_the_report(partae):
    _, out, _ = partae("train", "song.wav", *TRAIN, "--preset", "stowell2015", "--json")
    spectrograms = prepare(["song.wav"], noise=["noise.wav"], system="stowell2015")
    expected = diagnose(pf.load("new.safetensors"), spectrograms)
    printed = json.loads(out)["report"]
    assert printed == json.loads(json.dumps(asdict(expected))) and printed["warnings"]  # after only three steps
    _, out, _ = partae("train", "song.wav", *TRAIN, "--preset", "stowell2015", "--overwrite")
    assert [line.strip() for line in out.splitlines()[1:]] == expected.lines()


def test_spectrogram_flags(partae):
    options = ("--low", 1000, "--rate", 16000, "--n-fft", 256, "--hop", 64, "--bins", 40)
    assert partae("train", "song.wav", *TRAIN, *options)[0] == 0
    spectrogram = pf.load("new.safetensors").spectrogram
    expected = pf.Spectrogram(rate=16000, n_fft=256, hop=64, low=1000.0, high=None, bins=40)
    assert (spectrogram.rate, spectrogram.n_fft, spectrogram.hop) == (16000, 256, 64)
    assert (spectrogram.first, spectrogram.bins) == (expected.first, 40)


def test_threads_flag(partae):
    before = torch.get_num_threads()
    try:
        assert partae("train", "song.wav", *TRAIN, "--threads", before + 1)[0] == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_labels_give_noise_and_band(partae, here):
    Path("song.txt").write_text("0.0\t1.2\tsong\n\\\t2000.0\t6000.0\n")
    assert partae("train", "song.wav", "--labels", "song.txt", "--out", "new.safetensors", *FAST)[0] == 0
    spectrogram = pf.load("new.safetensors").spectrogram
    assert (spectrogram.low, spectrogram.high) == (2000.0, 6000.0)


def test_log_goes_to_stderr_and_quiet_silences_it(partae):
    _, out, err = partae("train", "song.wav", *TRAIN)
    assert "spectrogram: " in err and "spectrogram: " not in out and out.startswith("new.safetensors: 3 steps")
    assert partae("train", "song.wav", *TRAIN, "--overwrite", "--quiet")[2] == ""


@pytest.mark.parametrize(("make", "message"), cases(AUDIO | UNFIT_FOR_TRAINING))
def test_bad_recording_is_refused(refused, make, message):
    make()
    assert_message(refused("train", "bad.wav", *TRAIN), message, "bad.wav" if "pools" not in message else "")


@pytest.mark.parametrize(("make", "message"), cases(AUDIO | UNFIT_FOR_TRAINING))
def test_bad_noise_recording_is_refused(refused, make, message):
    make()
    line = refused("train", "song.wav", "--noise", "bad.wav", "--out", "new.safetensors", *FAST)
    assert_message(line, message, "bad.wav" if "pools" not in message else "")


def test_short_recordings_train_on_shorter_crops(partae):
    write("short.wav", sound(0.3, 1, songs=True))
    code, _, err = partae("train", "short.wav", *TRAIN)
    assert code == 0 and "crops have 104 frames instead of 128" in err


def test_sample_rates_may_differ(partae):
    write("other.wav", sound(2, 5, rate=48000), 48000)
    assert partae("train", "song.wav", "--noise", "other.wav", "--out", "new.safetensors", *FAST)[0] == 0
    assert partae("denoise", "new.safetensors", "other.wav", "--out", "new.wav")[0] == 0
    about = files.info("new.wav")
    assert (about.rate, about.frames) == (48000, 96000)


def train_with_labels(text, name="song.txt"):
    Path(name).write_text(text)
    return ("train", "song.wav", "--labels", name, "--out", "new.safetensors", *FAST)


def test_labels_for_another_file_are_refused(refused):
    shutil.copy("song.wav", "second.wav")
    line = refused("train", "second.wav", *train_with_labels("0.1\t0.5\tsong\n", "third.txt")[1:])
    assert "third.txt" in line and "2 recordings" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("0.1\t9.0\tsong\n", "ends at 9.000 s and the recording at 3.000 s", id="past the end"),
        pytest.param("0.0\t3.0\tsong\n", "no stretch that is noise-only", id="noise-only set empty"),
        pytest.param("", "all labelled time is noise-only", id="no events"),
        pytest.param("one two three\n", "line 1", id="not labels"),
    ],
)
def test_bad_labels_are_refused(refused, text, message):
    assert message in refused(*train_with_labels(text))


def test_recording_with_an_empty_label_file_is_noise_only(partae):
    shutil.copy("noise.wav", "quiet.wav")
    Path("quiet.txt").touch()
    assert partae("train", "song.wav", "quiet.wav", *train_with_labels("0.02\t2.98\tsong\n")[2:], "--seed", 1)[0] == 2
    code, _, _ = partae("train", "song.wav", "quiet.wav", "--labels", "quiet.txt", "--out", "a.safetensors", *FAST)
    assert code == 0
    assert partae("train", "song.wav", "--noise", "quiet.wav", "--out", "b.safetensors", *FAST)[0] == 0
    one, two = pf.load("a.safetensors"), pf.load("b.safetensors")
    assert torch.allclose(one.noise_mean_square, two.noise_mean_square, rtol=0.05)


def test_missing_noise_is_refused(refused):
    assert "noise" in refused("train", "song.wav", "--out", "new.safetensors", *FAST)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--preset", "nothere"), "nothere"),
        (("--steps", "0"), "--steps"),
        (("--steps", "many"), "many"),
        (("--threads", "0"), "--threads"),
        (("--low", "5000", "--high", "4000"), "4000"),
        (("--hop", "100", "--n-fft", "128"), "hop is 100"),
        (("--bins", "500"), "Hz"),
        (("--backend", "nothere"), "nothere"),
        (("--backend", "cuda"), "cuda"),
        (("--device", "nothere"), "nothere"),
        (("--seed", str(2**64)), "seed"),
        (("--nothere",), "nothere"),
    ],
)
def test_bad_setting_is_refused(refused, options, message):
    assert message in refused("train", "song.wav", *TRAIN, *options)


# Root can write to any folder, but not to a path below a file.
@pytest.mark.parametrize("out", ["song.wav/m.safetensors", "nothere/m.safetensors"])
def test_output_path_is_checked_before_training(refused, out, monkeypatch):
    monkeypatch.setattr(train_verb, "fit", None)
    assert out in refused("train", "song.wav", "--noise", "noise.wav", "--out", out)


def test_existing_model_is_not_overwritten_by_default(refused, monkeypatch):
    monkeypatch.setattr(train_verb, "fit", None)
    line = refused("train", "song.wav", "--noise", "noise.wav", "--out", "m.safetensors")
    assert "m.safetensors" in line and "--overwrite" in line


def test_ctrl_c_and_resume_give_the_same_bits(here, partae):
    settings = ("song.wav", "--noise", "noise.wav", "--preset", "stowell2015", "--threads", "1")
    command = [sys.executable, "-m", "partae_fast", "train", *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    out = ("--out", "stopped.safetensors")
    process = subprocess.Popen(
        [*command, *out, "--steps", "1000000"], env=environment, stderr=subprocess.PIPE, text=True
    )
    limit = threading.Timer(120, process.kill)
    limit.start()
    try:
        err = ""
        while "train_steps on cpu" not in err:  # the log names the back-end just before the first launch
            line = process.stderr.readline()
            assert line, err
            err += line
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        err += process.communicate(timeout=60)[1]
    finally:
        limit.cancel()
        process.kill()
    last = err.strip().splitlines()[-1]
    assert process.returncode == 130, err
    assert "Traceback" not in err and not Path("stopped.safetensors").exists()
    assert "stopped.safetensors.checkpoint" in last and "--resume" in last
    done = json.loads(partae("info", "stopped.safetensors.checkpoint", "--json")[1])
    total = str(done["step"] + 3)
    assert done["format"] == "partae-checkpoint" and done["step"] > 0 and np.isfinite(done["loss"])
    rest = (*settings, "--steps", total)
    assert partae("train", *rest, *out)[0] == 2  # neither --resume nor --overwrite
    assert partae("train", *rest, *out, "--resume")[0] == 0
    assert not Path("stopped.safetensors.checkpoint").exists()
    assert partae("train", *rest, "--out", "whole.safetensors")[0] == 0
    assert Path("stopped.safetensors").read_bytes() == Path("whole.safetensors").read_bytes()


def test_ctrl_c_before_the_first_step(partae, here, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_verb, "fit", stop)
    code, out, err = partae("train", "song.wav", *TRAIN)
    assert (code, out) == (130, "") and "nothing was written" in err and err.count("\n") == 1


@pytest.fixture
def stopped_at(partae, monkeypatch):
    """Return stopped_at(count, ...), which stops after the count-th checkpoint.

    It returns stderr.
    """
    from partae_fast.training import trainer

    def run(count, *options):
        save_checkpoint, saved = trainer.Trainer.save_checkpoint, []

        def save_and_stop(self):
            save_checkpoint(self)
            saved.append(self.checkpoint)
            if len(saved) == count:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(trainer.Trainer, "save_checkpoint", save_and_stop)
            code, _, err = partae("train", "song.wav", *TRAIN, *options)
        assert code == 130 and not Path("new.safetensors").exists()
        return err

    return run


CHECKPOINT, REMIXED = Path("new.safetensors.checkpoint"), Path("new.safetensors.checkpoint.remixed1")


def test_stop_in_the_second_stage_and_resume_give_the_same_bits(partae, here, refused, stopped_at):
    assert "--resume" in stopped_at(2)
    assert CHECKPOINT.exists() and REMIXED.exists()
    assert "stopped here" in refused("train", "song.wav", *TRAIN)
    assert partae("train", "song.wav", *TRAIN, "--resume")[0] == 0
    assert not CHECKPOINT.exists() and not REMIXED.exists()
    resumed = Path("new.safetensors").read_bytes()
    assert partae("train", "song.wav", *TRAIN, "--overwrite")[0] == 0
    assert Path("new.safetensors").read_bytes() == resumed


def test_overwrite_removes_the_checkpoints_of_later_stages(partae, here, stopped_at):
    stopped_at(2)
    stopped_at(1, "--seed", 9, "--overwrite")
    assert CHECKPOINT.exists() and not REMIXED.exists()
    assert partae("train", "song.wav", *TRAIN, "--seed", 9, "--resume")[0] == 0


def test_second_checkpoint_without_the_first_is_refused(partae, here, refused, stopped_at):
    stopped_at(2)
    CHECKPOINT.unlink()
    assert "--overwrite" in refused("train", "song.wav", *TRAIN)
    code, _, err = partae("train", "song.wav", *TRAIN, "--resume")
    assert code == 2 and "without the first model's" in err and REMIXED.exists()
    assert partae("train", "song.wav", *TRAIN, "--overwrite")[0] == 0
    assert not REMIXED.exists()


def test_resume_with_other_settings_is_refused(partae, here, refused, stopped_at):
    stopped_at(1)
    line = refused("train", "song.wav", *TRAIN, "--seed", 9, "--resume")
    assert "seed was 0, is 9" in line
    assert partae("train", "song.wav", *TRAIN, "--seed", 9, "--overwrite")[0] == 0


def test_resume_of_a_damaged_checkpoint_is_refused(refused):
    Path("new.safetensors.checkpoint").write_bytes(Path("m.safetensors").read_bytes()[:500])
    assert "cut short" in refused("train", "song.wav", *TRAIN, "--resume")


def test_penalty_optimizer_and_learning_rate(partae, here):
    def train(name, *options):
        arguments = ("--preset", "stowell2015", "--steps", 3, *options)
        assert partae("train", "song.wav", "--noise", "noise.wav", "--out", name, *arguments)[0] == 0
        return Path(name).read_bytes()

    plain = train("a")
    assert train("b", "--penalty", 0.75, "--optimizer", "adadelta", "--learning-rate", 1) == plain
    assert train("c", "--optimizer", "adam") == train("d", "--optimizer", "adam", "--learning-rate", 1e-3) != plain
    assert train("f", "--weight-decay", 0.1) != plain
    code, _, err = partae("train", "song.wav", "--noise", "noise.wav", "--out", "e", "--learning-rate", 0)
    assert code == 2 and "learning_rate is 0.0; it must be above 0" in err


def test_nan_loss_stops_training_with_advice(partae, here, monkeypatch):
    from partae_fast.training import trainer

    def train_steps_with_nan(runs, first, steps, *backend):
        numbers = torch.arange(first, first + steps)
        return real(runs, first, steps, *backend).masked_fill(numbers == 3, torch.nan)

    real = trainer.train_steps
    monkeypatch.setattr(trainer, "train_steps", train_steps_with_nan)
    code, out, err = partae("train", "song.wav", *TRAIN, "--steps", 15, "--quiet")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "nan at step 3" in err and "try" in err
    assert not Path("new.safetensors").exists()


def test_figure_is_written(partae):
    code, out, _ = partae("train", "song.wav", *TRAIN, "--figure", "new.png", "--json")
    assert code == 0 and json.loads(out)["figure"] == "new.png"
    assert Path("new.png").read_bytes().startswith(b"\x89PNG")


def test_figure_path_is_checked_before_training(partae, here):
    Path("there.png").write_bytes(b"mine")
    for path, reason in (("there.png", "exists already"), ("a.gif", "not a format"), ("no/a.png", "exist")):
        code, out, err = partae("train", "song.wav", *TRAIN, "--figure", path)
        assert (code, out) == (2, "") and reason in err and err.count("\n") == 1
    assert Path("there.png").read_bytes() == b"mine" and not Path("new.safetensors").exists()
    assert not list(here.glob("*.checkpoint*"))
