"""Tests of `partae train` and `partae denoise` with the systems of single frames."""

import numpy as np
import pytest

import partae_fast as pf
from partae_fast.audio import files

from .conftest import sound, write

SMALL = ("--set", "n_fft=64", "--set", "batch=8", "--set", "rate=8000", "--quiet", "--threads", "1")
SIZES = {
    "dense": ("--set", "layers=20"),
    "dense-deep": ("--set", "layers=20-10-20"),
    "dense-partitioned": ("--set", "latents=20"),
    "curro": ("--set", "hidden=20", "--set", "latents=10", "--set", "decoder=10"),
}
INPUTS = {
    "dense": ("--clean", "song.wav", "--noise", "noise.wav"),
    "dense-deep": ("--clean", "song.wav"),
    "dense-partitioned": ("song.wav", "--noise", "noise.wav"),
    "curro": ("song.wav", "--noise", "noise.wav"),
}


def train(partae, model, *more, out="d.safetensors", inputs=None):
    inputs = INPUTS[model] if inputs is None else inputs
    return partae("train", *inputs, "--model", model, *SMALL, *SIZES[model], "--out", out, *more)


@pytest.mark.parametrize("model", SIZES)
def test_train_stop_resume_and_denoise(partae, here, monkeypatch, model):
    assert train(partae, model, "--steps", 6)[0] == 0
    whole = pf.load("d.safetensors").state_dict()
    with monkeypatch.context() as broken:

        def stop(*_, **__):
            raise KeyboardInterrupt

        broken.setattr("partae_fast.cli.train.save", stop)  # training is complete, and its checkpoint exists
        assert train(partae, model, "--steps", 3, out="e.safetensors")[0] == 130
    code, out, err = train(partae, model, "--steps", 6, "--resume", out="e.safetensors")
    assert code == 0 and "e.safetensors: 6 steps" in out, err
    resumed = pf.load("e.safetensors").state_dict()
    assert whole.keys() == resumed.keys() and all((whole[name] == resumed[name]).all() for name in whole)
    assert partae("denoise", "e.safetensors", "song.wav", "--out", "clean.wav", "--quiet")[0] == 0
    samples, rate = files.read("clean.wav")
    assert samples.shape == (3 * 22050, 1) and rate == 22050 and np.isfinite(samples).all() and samples.any()


@pytest.mark.parametrize("kind", ["time", "magnitude", "context", "complex"])
def test_every_kind_of_input(partae, here, kind):
    assert train(partae, "curro", "--steps", 2, "--set", f"input={kind}", "--set", "spectrum=two-sided")[0] == 0
    model = pf.load("d.safetensors")
    assert model.input.kind == kind and model.input.spectrum == "two-sided"
    assert partae("denoise", "d.safetensors", "noise.wav", "--out", "clean.wav", "--quiet")[0] == 0
    signal = files.read("clean.wav")[0]
    assert partae("denoise", "d.safetensors", "noise.wav", "--part", "noise", "--out", "rest.wav", "--quiet")[0] == 0
    np.testing.assert_allclose(signal + files.read("rest.wav")[0], files.read("noise.wav")[0], atol=1e-5)


def test_as_program_changes_defaults_only(partae, here):
    program = ("--steps", 1, "--set", "as-program=yes")
    assert train(partae, "dense-partitioned", *program, "--set", "background=0.125")[0] == 0
    config = pf.load("d.safetensors").config()
    expected = {"background": 0.125, "rectified_output": True, "mean_over_items": True, "unpenalised": 1}
    assert expected.items() <= config.items() and config["spectrum"] == "two-sided"
    assert train(partae, "dense", *program, "--overwrite")[0] == 0
    config = pf.load("d.safetensors").config()
    assert config["batch_norm"] == "input-hidden" and config["statistics"] == "batch"
    assert train(partae, "dense-deep", *program, "--overwrite")[0] == 0
    assert pf.load("d.safetensors").config()["batch_norm"] == "every"


def test_alpha_is_fitted_to_clean_recordings(partae, here):
    learn = ("--steps", 2, "--set", "learn_alpha=true")
    assert train(partae, "curro", *learn, inputs=("--clean", "song.wav"))[0] == 0
    model = pf.load("d.safetensors")
    assert model.part == "both" and model.alpha != 0
    code, _, err = train(partae, "curro", *learn, out="f.safetensors")
    assert code == 2 and "alpha is fitted to clean recordings; give --clean" in err


@pytest.mark.parametrize(
    ("model", "inputs", "settings", "message"),
    [
        ("dense", (), {}, "model dense needs clean recordings"),
        ("dense", ("song.wav", "--clean", "song.wav"), {}, "model dense cannot be trained on noisy recordings"),
        ("dense", ("--clean", "silent.wav"), {}, "silent.wav"),
        ("dense", ("--clean", "short.wav"), {}, "signal: the longest recording has"),
        ("dense", ("--clean", "song.wav", "--noise", "short.wav"), {}, "noise: the longest recording has"),
        ("dense", INPUTS["dense"], {"snr": "nan"}, "snr is nan"),
        ("dense", INPUTS["dense"], {"snr": "loud"}, "snr is 'loud'; it must be a number"),
        ("dense", INPUTS["dense"], {"penalty": "1"}, "there is no setting 'penalty'; the settings are input, n_fft"),
        ("dense", INPUTS["dense"], {"layers": "20-"}, "layers is '20-'; give units joined by -"),
        ("dense", INPUTS["dense"], {"layers": "99999"}, "layers is 99999; it must be a whole number, from 1 to 65536"),
        ("dense", INPUTS["dense"], {"batch": "1"}, "batch is 1; batch normalisation needs 2 frames or more"),
        ("dense", INPUTS["dense"], {"input": "cepstrum"}, "input is 'cepstrum'; choose one of"),
        ("dense", INPUTS["dense"], {"l2": "-1"}, "l2 is -1.0; it must be at least 0"),
        ("dense-partitioned", ("song.wav",), {}, "there is no noise-only time; give --noise, or labels"),
        ("dense-partitioned", ("--noise", "noise.wav"), {}, "give either noisy recordings or clean ones"),
        ("dense-partitioned", INPUTS["curro"], {"background": "2"}, "background is 2.0; it must be at least 0 and"),
        ("curro", INPUTS["curro"], {"noise_only": "1"}, "noise_only is 1.0 of 8 items"),
        ("curro", INPUTS["curro"], {"part": "loud"}, "part is 'loud'; choose one of signal, noise, both"),
        ("curro", INPUTS["curro"], {"alpha": "inf"}, "alpha is inf; it must be a finite number"),
    ],
)
def test_bad_input_is_refused(partae, here, model, inputs, settings, message):
    write("silent.wav", 0 * sound(1, 0))
    write("short.wav", sound(0.005, 0))
    changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    code, out, err = train(partae, model, "--steps", 2, *changed, inputs=inputs)
    assert (code, out) == (2, "") and message in err and len(err.strip().splitlines()) == 1
    assert not (here / "d.safetensors").exists()
