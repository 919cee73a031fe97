"""`partae` as its users meet it: what works, and every bad input with its one line, exit code and no leavings."""

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
from partae_fast import checked_safetensors, cli
from partae_fast.audio import files
from partae_fast.cli import train as train_verb
from partae_fast.evaluation.diagnostics import diagnose
from tests.calls import fit, prepare

from .conftest import FAST, RATE, ROOT, sound, write


@pytest.fixture
def refused(partae, here):
    """refused(...) -> the one line on stderr; exit code 2, nothing on stdout, no file made or changed."""

    def run(*arguments):
        before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
        code, out, err = partae(*arguments, "--quiet")
        assert (code, out) == (2, ""), err
        assert err.endswith("\n") and err.count("\n") == 1
        assert err.startswith((f"partae {arguments[0]}: ", "partae: "))
        assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before
        return err

    return run


TRAIN = ("--noise", "noise.wav", "--out", "new.safetensors", *FAST)


# What works.


def test_train_writes_a_model_that_is_fits_own_and_removes_its_checkpoint(partae, here):
    code, out, _ = partae("train", "song.wav", *TRAIN, "--seed", 3, "--json")
    result = json.loads(out)
    assert code == 0 and result["model"] == "new.safetensors" and result["steps"] == 3
    torch.set_num_threads(1)
    own = fit(["song.wav"], noise=["noise.wav"], steps=3, seed=3, backend="eager")
    model = pf.load("new.safetensors")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))
    assert result["loss"] == pytest.approx(own.history.loss[-1])  # one step of three is the last model's
    assert not list(here.glob("*.checkpoint*"))


def test_train_reports_what_can_be_told_without_clean_audio(partae):
    _, out, _ = partae("train", "song.wav", *TRAIN, "--preset", "stowell2015", "--json")
    made = prepare(["song.wav"], noise=["noise.wav"], system="stowell2015")
    expected = diagnose(pf.load("new.safetensors"), made)
    found = json.loads(out)["report"]
    assert found == json.loads(json.dumps(asdict(expected))) and found["warnings"]  # three steps tell nothing apart
    _, out, _ = partae("train", "song.wav", *TRAIN, "--preset", "stowell2015", "--overwrite")
    assert [line.strip() for line in out.splitlines()[1:]] == expected.lines()


def test_train_takes_the_spectrogram_that_is_asked_for(partae):
    options = ("--low", 1000, "--rate", 16000, "--n-fft", 256, "--hop", 64, "--bins", 40)
    assert partae("train", "song.wav", *TRAIN, *options)[0] == 0
    spectrogram = pf.load("new.safetensors").spectrogram
    wanted = pf.Spectrogram(rate=16000, n_fft=256, hop=64, low=1000.0, high=None, bins=40)
    assert (spectrogram.rate, spectrogram.n_fft, spectrogram.hop) == (16000, 256, 64)
    assert (spectrogram.first, spectrogram.bins) == (wanted.first, 40)


def test_train_uses_the_threads_that_are_asked_for(partae):
    before = torch.get_num_threads()
    try:
        assert partae("train", "song.wav", *TRAIN, "--threads", before + 1)[0] == 0
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_train_with_labels_takes_their_gaps_for_noise_and_their_band(partae, here):
    Path("song.txt").write_text("0.0\t1.2\tsong\n\\\t2000.0\t6000.0\n")
    assert partae("train", "song.wav", "--labels", "song.txt", "--out", "new.safetensors", *FAST)[0] == 0
    spectrogram = pf.load("new.safetensors").spectrogram
    assert (spectrogram.low, spectrogram.high) == (2000.0, 6000.0)


def test_denoise_writes_file_and_figure_and_the_parts_add_up(partae):
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "s.wav", "--figure")[0] == 0
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "n.wav", "--part", "noise")[0] == 0
    signal, noise, song = (files.read(name)[0] for name in ("s.wav", "n.wav", "song.wav"))
    assert signal.shape == song.shape and signal.any() and not np.array_equal(signal, song)
    assert np.abs(signal + noise - song).max() < 1e-6
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_denoise_attenuates_no_more_than_the_reduction(partae):
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "s.wav", "--reduction", 0)[0] == 0
    assert np.abs(files.read("s.wav")[0] - files.read("song.wav")[0]).max() < 1e-6


def test_denoise_puts_several_into_a_folder_and_says_so_in_json(partae, here):
    code, out, _ = partae("denoise", "m.safetensors", "song.wav", "noise.wav", "--out", "clean", "--json")
    assert code == 0
    found = json.loads(out)
    assert [(one["input"], one["output"], one["figure"]) for one in found["done"]] == [
        (name, f"clean/{name}", None) for name in ("song.wav", "noise.wav")
    ]
    journal = "partae-journal.jsonl"
    assert sorted(p.name for p in (here / "clean").iterdir()) == ["noise.wav", journal, "song.wav"]
    assert found["journal"] == f"clean/{journal}" and not found["skipped"] and not found["failed"]


def test_denoise_of_a_folder_names_what_failed_and_goes_on_at_the_next_start(partae):
    Path("june").mkdir()
    os.rename("song.wav", "june/song.wav")
    Path("june/bad.wav").write_text("no audio")
    Path("june/notes.txt").write_text("rain")
    code, out, err = partae("denoise", "m.safetensors", "june", "--out", "clean")
    assert code == 1
    done, summary, failed = out.splitlines()
    assert done == "june/song.wav -> clean/song.wav"
    assert summary.startswith(
        "1 done, 0 skipped as done before, 1 failed; 1 other files passed over; 0.00 h of audio in"
    )
    assert failed.startswith("failed: june/bad.wav: not usable as audio") and "june/bad.wav: not usable" in err
    Path("june/bad.wav").unlink()
    code, out, _ = partae("denoise", "m.safetensors", "june", "--out", "clean")
    assert code == 0
    assert out == "0 done, 1 skipped as done before, 0 failed; 1 other files passed over\n"


def test_denoise_of_a_folder_that_is_stopped_says_how_to_go_on(partae, monkeypatch):
    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("partae_fast.denoising.batch.jobs.denoise_file", stop)
    code, out, err = partae("denoise", "m.safetensors", "song.wav", "--out", "clean/")
    assert (code, out) == (130, "")
    assert err == "partae denoise: stopped; the same command goes on from what is in clean/\n"
    assert os.listdir("clean") == ["partae-journal.jsonl"]


def test_info_of_a_model(partae):
    code, out, _ = partae("info", "m.safetensors", "--json")
    about = json.loads(out)
    assert code == 0 and about["format"] == "partae-model" and about["config"]["latents"] == 64
    assert about["spectrogram"]["rate"] == RATE and about["spectrogram"]["bins"] == 128
    assert about["statistics"]["std"]["least"] > 0 and about["tensors"]["w_enc"]["shape"] == [5, 128, 64]
    text = partae("info", "m.safetensors")[1]
    assert "conv_denoising" in text and "noise_mean_square" in text


def test_info_of_an_audio_file(partae):
    write("two.flac", sound(0.5, 3, rate=48000, channels=2), 48000, "PCM_16")
    about = json.loads(partae("info", "two.flac", "--json")[1])
    assert (about["rate"], about["channels"], about["frames"]) == (48000, 2, 24000)
    assert (about["format"], about["subtype"]) == ("FLAC", "PCM_16")


def test_info_without_a_file_lists_back_ends(partae):
    found = json.loads(partae("info", "--json")[1])["backends"]
    assert found == {n: {"available": b.available, "reason": b.reason} for n, b in pf.backends().items()}


def test_verify_prints_a_row_for_each_pass_and_succeeds(partae):
    code, out, _ = partae("verify", "partitioned_loss", "--backend", "eager", "--json")
    rows = json.loads(out)
    assert code == 0 and rows
    assert all(row["backend"] == "eager" and row["op"] == "partitioned_loss" and row["passed"] for row in rows)
    table = partae("verify", "partitioned_loss", "--backend", "eager")[1].splitlines()
    assert (
        len(table) == len(rows) + 2
        and table[0].split()[0] == "op"
        and table[-1].startswith(f"{len(rows)} rows, 0 failed; seed ")
    )


def test_verify_fails_a_wrong_candidate(partae):
    Path("mine.py").write_text(
        "from partae_fast.kernels.partitioned_loss import eager\n"
        "def partitioned_loss(*arguments):\n"
        "    loss, grad_r, grad_values = eager.partitioned_loss(*arguments)\n"
        "    return loss * 1.01, grad_r, grad_values\n"
    )
    asked = "--backend", "reference", "--candidate", "mine.py:partitioned_loss", "--type", "float32", "--seed", "7"
    code, out, _ = partae("verify", *asked)
    assert code == 1
    assert out.rstrip().endswith("seed 7")
    assert [line for line in out.splitlines() if "mine.py:partitioned_loss" in line and "FAILED" in line]


@pytest.mark.parametrize("verb", ["demo", "train", "sweep", "denoise", "verify", "bench", "info"])
def test_each_verb_has_an_example(partae, verb):
    code, out, _ = partae(verb, "--help")
    assert code == 0 and f"\n  partae {verb}" in out


def test_log_goes_to_stderr_and_quiet_silences_it(partae):
    _, out, err = partae("train", "song.wav", *TRAIN)
    assert "spectrogram: " in err and "spectrogram: " not in out and out.startswith("new.safetensors: 3 steps")
    assert partae("train", "song.wav", *TRAIN, "--overwrite", "--quiet")[2] == ""


def test_debug_shows_where_an_error_arose(here):
    with pytest.raises(pf.UserError, match=r"nothere\.wav"):
        cli.main(["info", "nothere.wav", "--debug"])


# Bad input: audio. Each entry makes bad.wav, or leaves it out, and says what the one line must tell.


def nothing():
    pass


def header_cut_short():
    Path("bad.wav").write_bytes(Path("song.wav").read_bytes()[:20])


def samples(values):
    return lambda: write("bad.wav", values)


def with_sample(value):
    values = sound(2, 1)
    values[RATE] = value
    return samples(values)


AUDIO = {
    "missing": (nothing, "no such file"),
    "folder": (lambda: Path("bad.wav").mkdir(), "is a folder|no recordings there"),
    "text": (lambda: Path("bad.wav").write_text("these are the times\n" * 50), "not usable as audio"),
    "empty": (lambda: Path("bad.wav").touch(), "0 bytes"),
    "header cut short": (header_cut_short, "not usable as audio|no samples"),
    "zero frames": (samples(np.zeros((0, 1), np.float32)), "no samples"),
    "nan": (with_sample(np.nan), r"at 1\.000 s is nan"),
    "inf": (with_sample(np.inf), r"at 1\.000 s is inf"),
}
UNFIT_TO_LEARN = {
    "silence": (samples(np.zeros((2 * RATE, 1), np.float32)), "every sample is 0"),
    "shorter than 8 pools": (samples(sound(0.05, 1)), "8 pools"),
}


def cases(table):
    return [pytest.param(make, message, id=name) for name, (make, message) in table.items()]


@pytest.mark.parametrize(("make", "message"), cases(AUDIO | UNFIT_TO_LEARN))
def test_train_refuses_recording(refused, make, message):
    make()
    assert_told(refused("train", "bad.wav", *TRAIN), message, "bad.wav" if "pools" not in message else "")


@pytest.mark.parametrize(("make", "message"), cases(AUDIO | UNFIT_TO_LEARN))
def test_train_refuses_noise(refused, make, message):
    make()
    line = refused("train", "song.wav", "--noise", "bad.wav", "--out", "new.safetensors", *FAST)
    assert_told(line, message, "bad.wav" if "pools" not in message else "")


@pytest.mark.parametrize(("make", "message"), cases(AUDIO))
def test_denoise_refuses(refused, make, message):
    make()
    # Samples are read as they are denoised, where the name that is known is the program's.
    assert_told(refused("denoise", "m.safetensors", "bad.wav", "--out", "new.wav", "--figure"), message, "bad.wav")


@pytest.mark.parametrize(("make", "message"), cases({k: v for k, v in AUDIO.items() if k not in ("nan", "inf")}))
def test_info_refuses(refused, make, message):
    make()
    assert_told(refused("info", "bad.wav"), message, "bad.wav")


def assert_told(line, message, name):
    import re

    assert re.search(message, line) and name in line


def test_silence_is_denoised_to_silence(partae):
    write("bad.wav", np.zeros((RATE, 1), np.float32))
    assert partae("denoise", "m.safetensors", "bad.wav", "--out", "new.wav")[0] == 0
    denoised = files.read("new.wav")[0]
    assert denoised.shape == (RATE, 1) and not denoised.any()


def test_short_recordings_train_on_shorter_crops_and_the_log_says_so(partae):
    write("short.wav", sound(0.3, 1, songs=True))
    code, _, err = partae("train", "short.wav", *TRAIN)
    assert code == 0 and "crops have 104 frames instead of 128" in err


def test_rates_may_differ(partae):
    write("other.wav", sound(2, 5, rate=48000), 48000)
    assert partae("train", "song.wav", "--noise", "other.wav", "--out", "new.safetensors", *FAST)[0] == 0
    assert partae("denoise", "new.safetensors", "other.wav", "--out", "new.wav")[0] == 0
    about = files.info("new.wav")
    assert (about.rate, about.frames) == (48000, 96000)


def test_each_channel_is_denoised(partae):
    both = np.concatenate([files.read("song.wav")[0][: 2 * RATE], files.read("noise.wav")[0]], axis=1)
    write("both.wav", both)
    write("left.wav", both[:, :1])
    write("right.wav", both[:, 1:])
    for name in ("both", "left", "right"):
        assert partae("denoise", "m.safetensors", f"{name}.wav", "--out", f"{name}.flac")[0] == 0
    apart = np.concatenate([files.read("left.flac")[0], files.read("right.flac")[0]], axis=1)
    assert np.abs(files.read("both.flac")[0] - apart).max() <= 1 / 2**15


# Bad input: labels, noise, settings, places.


def labelled(text, name="song.txt"):
    Path(name).write_text(text)
    return ("train", "song.wav", "--labels", name, "--out", "new.safetensors", *FAST)


def test_labels_for_another_file(refused):
    shutil.copy("song.wav", "second.wav")
    line = refused("train", "second.wav", *labelled("0.1\t0.5\tsong\n", "third.txt")[1:])
    assert "third.txt" in line and "2 recordings" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("0.1\t9.0\tsong\n", "ends at 9.000 s and the recording at 3.000 s", id="past the end"),
        pytest.param("0.0\t3.0\tsong\n", "no stretch that is noise-only", id="noise-only set empty"),
        pytest.param("", "all is noise-only", id="no events"),
        pytest.param("one two three\n", "line 1", id="not labels"),
    ],
)
def test_labels_refused(refused, text, message):
    assert message in refused(*labelled(text))


def test_recording_whose_labels_have_no_events_is_noise_only(partae):
    shutil.copy("noise.wav", "quiet.wav")
    Path("quiet.txt").touch()
    assert partae("train", "song.wav", "quiet.wav", *labelled("0.02\t2.98\tsong\n")[2:], "--seed", 1)[0] == 2
    code, _, _ = partae("train", "song.wav", "quiet.wav", "--labels", "quiet.txt", "--out", "a.safetensors", *FAST)
    assert code == 0
    assert partae("train", "song.wav", "--noise", "quiet.wav", "--out", "b.safetensors", *FAST)[0] == 0
    one, two = pf.load("a.safetensors"), pf.load("b.safetensors")
    assert torch.allclose(one.noise_mean_square, two.noise_mean_square, rtol=0.05)


def test_train_without_a_word_on_noise(refused):
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
def test_train_refuses_setting(refused, options, message):
    assert message in refused("train", "song.wav", *TRAIN, *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--reduction", "-3"), "reduction"),
        (("--reduction", "nan"), "reduction"),
        (("--part", "both"), "both"),
        (("--out", "song.wav"), "song.wav"),
        (("--out", "new.mp3"), "mp3"),
        (("--out", "song.wav", "--overwrite"), "is an input"),
    ],
)
def test_denoise_refuses_setting(refused, options, message):
    assert message in refused("denoise", "m.safetensors", "song.wav", "--out", "new.wav", *options)


def test_denoise_needs_a_model(refused):
    assert "not a safetensors file" in refused("denoise", "song.wav", "noise.wav", "--out", "new.wav")


# The tests may run as root, who may write anywhere; a path below a file is beyond root too.
@pytest.mark.parametrize("out", ["song.wav/m.safetensors", "nothere/m.safetensors"])
def test_train_checks_where_the_model_goes_before_it_trains(refused, out, monkeypatch):
    monkeypatch.setattr(train_verb, "fit", None)
    assert out in refused("train", "song.wav", "--noise", "noise.wav", "--out", out)


def test_denoise_to_a_place_that_cannot_be(refused):
    assert "song.wav" in refused("denoise", "m.safetensors", "noise.wav", "--out", "song.wav/new.wav")
    assert "song.wav" in refused("denoise", "m.safetensors", "noise.wav", "--out", "song.wav/folder/")


def test_bench_checks_its_settings_before_it_times(refused):
    assert "song.wav" in refused("bench", "--json", "song.wav/rows.json")
    assert "nothere" in refused("bench", "nothere")


def test_demo_to_a_place_that_cannot_be(refused):
    assert "song.wav" in refused("demo", "--out", "song.wav/folder")


def test_train_replaces_no_model_unasked(refused, monkeypatch):
    monkeypatch.setattr(train_verb, "fit", None)
    line = refused("train", "song.wav", "--noise", "noise.wav", "--out", "m.safetensors")
    assert "m.safetensors" in line and "--overwrite" in line


# Bad input: models.


def cut_model():
    content = Path("m.safetensors").read_bytes()
    Path("bad.safetensors").write_bytes(content[: len(content) // 2])


def flip_bit():
    content = bytearray(Path("m.safetensors").read_bytes())
    content[-1000] ^= 4
    Path("bad.safetensors").write_bytes(content)


def rewritten(version="1", **tensors):
    def make():
        file = checked_safetensors.read("m.safetensors")
        checked_safetensors.write("bad.safetensors", file.format, version, file.settings, {**file.tensors, **tensors})

    return make


MODELS = {
    "missing": (nothing, "no such file"),
    "cut short": (cut_model, "cut short"),
    "flipped bit": (flip_bit, "checksum"),
    "nan weights": (rewritten(w_enc=torch.full((5, 128, 64), torch.nan)), "NaN .*w_enc"),
    "another version": (rewritten(version="2"), "version 2 .*version 1"),
    "empty": (lambda: Path("bad.safetensors").touch(), "not a safetensors file|0 bytes"),
}


@pytest.mark.parametrize(("make", "message"), cases(MODELS))
def test_denoise_refuses_model(refused, make, message):
    make()
    assert_told(refused("denoise", "bad.safetensors", "song.wav", "--out", "new.wav"), message, "bad.safetensors")


@pytest.mark.parametrize(("make", "message"), cases({k: v for k, v in MODELS.items() if k != "another version"}))
def test_info_refuses_model(refused, make, message):
    make()
    assert_told(refused("info", "bad.safetensors"), message, "bad.safetensors")


# Stopping and going on.


def test_ctrl_c_leaves_a_checkpoint_and_resume_finishes_to_the_same_bits(here, partae):
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
        while "train_steps on cpu" not in err:  # the log of the choice of back-end: the first launch follows
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
    """stopped_at(count, ...) -> stderr of a training that Ctrl-C stops at the checkpoint that is its count-th."""
    from partae_fast.training import trainer

    def run(count, *options):
        real, saved = trainer.Trainer.save_checkpoint, []

        def save_and_stop(self):
            real(self)
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


def test_a_stop_in_the_second_stage_resumes_to_the_same_bits(partae, here, refused, stopped_at):
    assert "--resume" in stopped_at(2)
    assert CHECKPOINT.exists() and REMIXED.exists()
    assert "stopped here" in refused("train", "song.wav", *TRAIN)
    assert partae("train", "song.wav", *TRAIN, "--resume")[0] == 0
    assert not CHECKPOINT.exists() and not REMIXED.exists()
    resumed = Path("new.safetensors").read_bytes()
    assert partae("train", "song.wav", *TRAIN, "--overwrite")[0] == 0
    assert Path("new.safetensors").read_bytes() == resumed


def test_a_run_begun_anew_forgets_the_second_stage_of_the_one_before(partae, here, stopped_at):
    stopped_at(2)
    stopped_at(1, "--seed", 9, "--overwrite")
    assert CHECKPOINT.exists() and not REMIXED.exists()
    assert partae("train", "song.wav", *TRAIN, "--seed", 9, "--resume")[0] == 0


def test_a_second_stage_without_the_first_is_refused(partae, here, refused, stopped_at):
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


def test_penalty_optimizer_and_rate_are_as_asked_for(partae, here):
    def trained(name, *options):
        given = ("--preset", "stowell2015", "--steps", 3, *options)
        assert partae("train", "song.wav", "--noise", "noise.wav", "--out", name, *given)[0] == 0
        return Path(name).read_bytes()

    plain = trained("a")
    assert trained("b", "--penalty", 0.75, "--optimizer", "adadelta", "--learning-rate", 1) == plain
    assert trained("c", "--optimizer", "adam") == trained("d", "--optimizer", "adam", "--learning-rate", 1e-3) != plain
    assert trained("f", "--weight-decay", 0.1) != plain
    code, _, err = partae("train", "song.wav", "--noise", "noise.wav", "--out", "e", "--learning-rate", 0)
    assert code == 2 and "learning_rate is 0.0; it must be above 0" in err


def test_loss_that_turns_nan_stops_with_the_step_and_what_to_try(partae, here, monkeypatch):
    from partae_fast.training import trainer

    def turning(runs, first, steps, backend):
        numbers = torch.arange(first, first + steps)
        return real(runs, first, steps, backend).masked_fill(numbers == 3, torch.nan)

    real = trainer.train_steps
    monkeypatch.setattr(trainer, "train_steps", turning)
    code, out, err = partae("train", "song.wav", *TRAIN, "--steps", 15, "--quiet")
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "nan at step 3" in err and "try" in err
    assert not Path("new.safetensors").exists()
