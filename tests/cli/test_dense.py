"""The dense family from the command line: train, stop and go on, denoise, and what is refused."""

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
GIVEN = {
    "dense": ("--clean", "song.wav", "--noise", "noise.wav"),
    "dense-deep": ("--clean", "song.wav"),
    "dense-partitioned": ("song.wav", "--noise", "noise.wav"),
    "curro": ("song.wav", "--noise", "noise.wav"),
}


def train(partae, model, *more, out="d.safetensors", given=None):
    given = GIVEN[model] if given is None else given
    return partae("train", *given, "--model", model, *SMALL, *SIZES[model], "--out", out, *more)


@pytest.mark.parametrize("model", SIZES)
def test_train_stop_go_on_and_denoise(partae, here, monkeypatch, model):
    assert train(partae, model, "--steps", 6)[0] == 0
    whole = pf.load("d.safetensors").state_dict()
    with monkeypatch.context() as broken:

        def stop(*_, **__):
            raise KeyboardInterrupt

        broken.setattr("partae_fast.cli.train.save", stop)  # the run is done, and its checkpoint is there
        assert train(partae, model, "--steps", 3, out="e.safetensors")[0] == 130
    code, out, err = train(partae, model, "--steps", 6, "--resume", out="e.safetensors")
    assert code == 0 and "e.safetensors: 6 steps" in out, err
    resumed = pf.load("e.safetensors").state_dict()
    assert whole.keys() == resumed.keys() and all((whole[name] == resumed[name]).all() for name in whole)
    assert partae("denoise", "e.safetensors", "song.wav", "--out", "clean.wav", "--quiet")[0] == 0
    samples, rate = files.read("clean.wav")
    assert samples.shape == (3 * 22050, 1) and rate == 22050 and np.isfinite(samples).all() and samples.any()


@pytest.mark.parametrize("kind", ["time", "magnitude", "context", "complex"])
def test_every_input_goes_all_the_way(partae, here, kind):
    assert train(partae, "curro", "--steps", 2, "--set", f"input={kind}", "--set", "spectrum=two-sided")[0] == 0
    model = pf.load("d.safetensors")
    assert model.input.kind == kind and model.input.spectrum == "two-sided"
    assert partae("denoise", "d.safetensors", "noise.wav", "--out", "clean.wav", "--quiet")[0] == 0
    signal = files.read("clean.wav")[0]
    assert partae("denoise", "d.safetensors", "noise.wav", "--part", "noise", "--out", "rest.wav", "--quiet")[0] == 0
    np.testing.assert_allclose(signal + files.read("rest.wav")[0], files.read("noise.wav")[0], atol=1e-5)


def test_the_program_does_otherwise_where_nothing_else_is_said(partae, here):
    program = ("--steps", 1, "--set", "as-program=yes")
    assert train(partae, "dense-partitioned", *program, "--set", "background=0.125")[0] == 0
    config = pf.load("d.safetensors").config()
    wanted = {"background": 0.125, "rectified_output": True, "mean_over_items": True, "unpenalised": 1}
    assert wanted.items() <= config.items() and config["spectrum"] == "two-sided"
    assert train(partae, "dense", *program, "--overwrite")[0] == 0
    config = pf.load("d.safetensors").config()
    assert config["batch_norm"] == "input-hidden" and config["statistics"] == "batch"
    assert train(partae, "dense-deep", *program, "--overwrite")[0] == 0
    assert pf.load("d.safetensors").config()["batch_norm"] == "every"


def test_alpha_is_learned_from_clean_recordings(partae, here):
    learn = ("--steps", 2, "--set", "learn_alpha=true")
    assert train(partae, "curro", *learn, given=("--clean", "song.wav"))[0] == 0
    model = pf.load("d.safetensors")
    assert model.part == "both" and model.alpha != 0
    code, _, err = train(partae, "curro", *learn, out="f.safetensors")
    assert code == 2 and "alpha is learned from clean recordings; give --clean" in err


@pytest.mark.parametrize(
    ("model", "given", "settings", "message"),
    [
        ("dense", (), {}, "clean recordings of what is wanted (--clean) must be given"),
        ("dense", ("song.wav", "--clean", "song.wav"), {}, "does not learn from noisy recordings"),
        ("dense", ("--clean", "silent.wav"), {}, "silent.wav"),
        ("dense", ("--clean", "short.wav"), {}, "signal: the longest recording has"),
        ("dense", ("--clean", "song.wav", "--noise", "short.wav"), {}, "noise: the longest recording has"),
        ("dense", GIVEN["dense"], {"snr": "nan"}, "snr is nan"),
        ("dense", GIVEN["dense"], {"snr": "loud"}, "snr is 'loud'; it must be a number"),
        ("dense", GIVEN["dense"], {"penalty": "1"}, "there is no setting 'penalty'; there are input, n_fft"),
        ("dense", GIVEN["dense"], {"layers": "20-"}, "layers is '20-'; give units joined by -"),
        ("dense", GIVEN["dense"], {"layers": "99999"}, "layers is 99999; it must be a whole number, from 1 to 65536"),
        ("dense", GIVEN["dense"], {"batch": "1"}, "batch is 1; batch normalisation takes 2 frames or more"),
        ("dense", GIVEN["dense"], {"input": "cepstrum"}, "input is 'cepstrum'; choose one of"),
        ("dense", GIVEN["dense"], {"l2": "-1"}, "l2 is -1.0; it must be at least 0"),
        ("dense-partitioned", ("song.wav",), {}, "there is no noise-only time; give --noise, or labels"),
        ("dense-partitioned", ("--noise", "noise.wav"), {}, "give either noisy recordings or clean ones"),
        ("dense-partitioned", GIVEN["curro"], {"background": "2"}, "background is 2.0; it must be at least 0 and"),
        ("curro", GIVEN["curro"], {"noise_only": "1"}, "noise_only is 1.0 of 8 items"),
        ("curro", GIVEN["curro"], {"part": "loud"}, "part is 'loud'; choose one of signal, noise, both"),
        ("curro", GIVEN["curro"], {"alpha": "inf"}, "alpha is inf; it must be a finite number"),
    ],
)
def test_what_makes_no_model_is_refused(partae, here, model, given, settings, message):
    write("silent.wav", 0 * sound(1, 0))
    write("short.wav", sound(0.005, 0))
    changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    code, out, err = train(partae, model, "--steps", 2, *changed, given=given)
    assert (code, out) == (2, "") and message in err and len(err.strip().splitlines()) == 1
    assert not (here / "d.safetensors").exists()
