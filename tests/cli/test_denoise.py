"""Tests of `partae denoise`."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from partae_fast.audio import files

from .bad_files import AUDIO, MODELS, assert_message, cases
from .conftest import RATE, write


def test_signal_and_noise_add_up_to_the_input(partae):
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "s.wav", "--figure")[0] == 0
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "n.wav", "--part", "noise")[0] == 0
    signal, noise, song = (files.read(name)[0] for name in ("s.wav", "n.wav", "song.wav"))
    assert signal.shape == song.shape and signal.any() and not np.array_equal(signal, song)
    assert np.abs(signal + noise - song).max() < 1e-6
    assert Path("s.png").read_bytes().startswith(b"\x89PNG")


def test_a_line_end_in_a_name_does_not_end_the_line(partae):
    os.rename("song.wav", "so\nng.wav")
    _, out, _ = partae("denoise", "m.safetensors", "so\nng.wav", "--out", "s.wav")
    assert out == "so\\nng.wav -> s.wav\n"


def test_a_file_that_looks_like_an_option_is_named(partae):
    os.rename("song.wav", "-song.wav")
    code, _, err = partae("denoise", "m.safetensors", "-song.wav", "--out", "s.wav")
    assert code == 2 and err == "partae: the file -song.wav looks like an option; write ./-song.wav\n"
    assert partae("denoise", "m.safetensors", "./-song.wav", "--out", "s.wav")[0] == 0
    assert partae("denoise", "--out", "t.wav", "--", "m.safetensors", "-song.wav")[0] == 0


def test_reduction_limits_the_attenuation(partae):
    assert partae("denoise", "m.safetensors", "song.wav", "--out", "s.wav", "--reduction", 0)[0] == 0
    assert np.abs(files.read("s.wav")[0] - files.read("song.wav")[0]).max() < 1e-6


def test_several_recordings_and_json(partae, here):
    code, out, _ = partae("denoise", "m.safetensors", "song.wav", "noise.wav", "--out", "clean", "--json")
    assert code == 0
    result = json.loads(out)
    assert [(entry["input"], entry["output"], entry["figure"]) for entry in result["done"]] == [
        (name, f"clean/{name}", None) for name in ("song.wav", "noise.wav")
    ]
    journal = "partae-journal.jsonl"
    assert sorted(p.name for p in (here / "clean").iterdir()) == ["noise.wav", journal, "song.wav"]
    assert result["journal"] == f"clean/{journal}" and not result["skipped"] and not result["failed"]


def test_folder_lists_failures_and_skips_finished_recordings(partae):
    Path("june").mkdir()
    os.rename("song.wav", "june/song.wav")
    Path("june/bad.wav").write_text("no audio")
    Path("june/notes.txt").write_text("rain")
    code, out, err = partae("denoise", "m.safetensors", "june", "--out", "clean")
    assert code == 1
    done, summary, failed = out.splitlines()
    assert done == "june/song.wav -> clean/song.wav"
    assert summary.startswith("1 done, 0 skipped (done before), 1 failed; 1 other files ignored; 0.00 h of audio in")
    assert failed.startswith("failed: june/bad.wav: not usable as audio") and "june/bad.wav: not usable" in err
    Path("june/bad.wav").unlink()
    code, out, _ = partae("denoise", "m.safetensors", "june", "--out", "clean")
    assert code == 0
    assert out == "0 done, 1 skipped (done before), 0 failed; 1 other files ignored\n"


def test_stopped_folder_prints_how_to_continue(partae, monkeypatch):
    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("partae_fast.denoising.batch.jobs.denoise_file", stop)
    code, out, err = partae("denoise", "m.safetensors", "song.wav", "--out", "clean/")
    assert (code, out) == (130, "")
    assert err == "partae denoise: stopped; the same command continues from the files in clean/\n"
    assert os.listdir("clean") == ["partae-journal.jsonl"]


@pytest.mark.parametrize(("make", "message"), cases(AUDIO))
def test_bad_recording_is_refused(refused, make, message):
    make()
    assert_message(refused("denoise", "m.safetensors", "bad.wav", "--out", "new.wav", "--figure"), message, "bad.wav")


def test_silence_is_denoised_to_silence(partae):
    write("bad.wav", np.zeros((RATE, 1), np.float32))
    assert partae("denoise", "m.safetensors", "bad.wav", "--out", "new.wav")[0] == 0
    denoised = files.read("new.wav")[0]
    assert denoised.shape == (RATE, 1) and not denoised.any()


def test_channels_are_denoised_separately(partae):
    both = np.concatenate([files.read("song.wav")[0][: 2 * RATE], files.read("noise.wav")[0]], axis=1)
    write("both.wav", both)
    write("left.wav", both[:, :1])
    write("right.wav", both[:, 1:])
    for name in ("both", "left", "right"):
        assert partae("denoise", "m.safetensors", f"{name}.wav", "--out", f"{name}.flac")[0] == 0
    apart = np.concatenate([files.read("left.flac")[0], files.read("right.flac")[0]], axis=1)
    assert np.abs(files.read("both.flac")[0] - apart).max() <= 1 / 2**15


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
def test_bad_setting_is_refused(refused, options, message):
    assert message in refused("denoise", "m.safetensors", "song.wav", "--out", "new.wav", *options)


def test_audio_file_as_model_is_refused(refused):
    assert "not a safetensors file" in refused("denoise", "song.wav", "noise.wav", "--out", "new.wav")


def test_output_below_a_file_is_refused(refused):
    assert "song.wav" in refused("denoise", "m.safetensors", "noise.wav", "--out", "song.wav/new.wav")
    assert "song.wav" in refused("denoise", "m.safetensors", "noise.wav", "--out", "song.wav/folder/")


@pytest.mark.parametrize(("make", "message"), cases(MODELS))
def test_bad_model_is_refused(refused, make, message):
    make()
    assert_message(refused("denoise", "bad.safetensors", "song.wav", "--out", "new.wav"), message, "bad.safetensors")
