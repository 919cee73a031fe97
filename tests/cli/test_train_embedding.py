"""Tests of training and use of embeddings, DAE-30 and sparse NMF."""

import sys

import numpy as np
import pytest

import partae_fast as pf
from partae_fast import cli
from partae_fast.audio import files

RATE = 4000
TINY = ("--set", "rate=4000", "--set", "n_fft=64", "--set", "hop=32", "--set", "seconds=0.3", "--set", "batch=2")
QUIET = ("--quiet", "--threads", "1")
EMBEDDING = ("--set", "layers=1", "--set", "hidden=4", "--set", "dimensions=3")
SIZES = {
    "sce": EMBEDDING,
    "sce-mi": EMBEDDING,
    "dc-mi": EMBEDDING,
    "dae-30": ("--set", "filters=2", "--set", "patch=16"),
    "snmf": ("--set", "bases=3", "--set", "context=1", "--set", "iterations=4"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with voices, noises, a stereo mixture and models.

    Tests never change it.
    """
    folder = tmp_path_factory.mktemp("embedding")
    random, time = np.random.default_rng(0), np.arange(2 * RATE) / RATE
    for name, pitch in (("ann", 150), ("bob", 230)):
        put(folder / "speech" / name / "1.wav", np.sin(2 * np.pi * pitch * time) * (time % 0.4 < 0.2))
    for name, colour in (("rain", [1.0]), ("wind", np.ones(8) / 8)):
        put(folder / "noise" / name / "1.wav", np.convolve(random.normal(0, 0.3, len(time)), colour, "same"))
    both = [0.3 * np.sin(2 * np.pi * 190 * time) + random.normal(0, 0.05, len(time)) for _ in range(2)]
    put(folder / "mixture.wav", np.stack(both, axis=1), 8000)
    for model in SIZES:
        assert train(model, folder, folder / f"{model}.safetensors") == 0
    return folder


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def put(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, np.asarray(samples, np.float32), rate, "FLOAT")


def partae(*arguments):
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        return stop.code


def train(model, folder, out, *more, steps=2, inputs=("speech", "noise")):
    inputs = [part for kind in inputs for part in (f"--{kind}", folder / kind)]
    options = (*TINY, *SIZES[model], *QUIET, "--steps", steps, "--out", out)
    return partae("train", "--model", model, *inputs, *options, *more)


def refused(capsys, *messages):
    """Check that stderr is one line that contains all messages."""
    out, err = capsys.readouterr()
    assert not out and len(err.strip().splitlines()) == 1 and all(message in err for message in messages), err


@pytest.mark.parametrize("model", SIZES)
def test_separated_sources_add_up(folder, model):
    if model == "sce":
        pytest.importorskip("sklearn")
    mixture, rate = files.read(folder / "mixture.wav")
    assert partae("denoise", folder / f"{model}.safetensors", folder / "mixture.wav", "--out", "c.wav", *QUIET) == 0
    cleaned = files.read("c.wav")[0]
    assert cleaned.shape == mixture.shape and np.isfinite(cleaned).all() and cleaned.any()
    assert partae("separate", folder / f"{model}.safetensors", folder / "mixture.wav", "--out", "s", *QUIET) == 0
    voice, noise = (files.read(f"s/{name}.wav") for name in ("voice", "noise"))
    assert voice[1] == noise[1] == rate and voice[0].std() > 1e-4 and noise[0].std() > 1e-4
    np.testing.assert_allclose(voice[0] + noise[0], mixture, atol=1e-6)


def test_any_number_of_sources_by_clustering(folder, capsys):
    pytest.importorskip("sklearn")
    model, mixture = folder / "sce-mi.safetensors", folder / "mixture.wav"
    assert partae("separate", model, mixture, "--sources", 3, "--out", "s", *QUIET) == 0
    parts = [files.read(f"s/source{number}.wav")[0] for number in (1, 2, 3)]
    assert min(part.std() for part in parts) > 1e-4
    np.testing.assert_allclose(sum(parts), files.read(mixture)[0], atol=1e-6)
    capsys.readouterr()
    for arguments, message in (
        (("snmf.safetensors", "--sources", 3), "separates 2 sources, voice and noise"),
        (("sce-mi.safetensors", "--step", 2), "step is 2; this model has no segments"),
    ):
        name, *more = arguments
        assert partae("separate", folder / name, mixture, "--out", "t", *more, *QUIET) == 2
        refused(capsys, message)


def test_stop_and_resume_equal_one_run(folder, monkeypatch):
    assert train("sce-mi", folder, "whole.safetensors", steps=5) == 0
    with monkeypatch.context() as broken:

        def stop(*_, **__):
            raise KeyboardInterrupt

        broken.setattr("partae_fast.cli.train.save", stop)  # training is complete, and its checkpoint exists
        assert train("sce-mi", folder, "half.safetensors", steps=2) == 130
    assert train("sce-mi", folder, "half.safetensors", "--resume", steps=5) == 0
    whole, half = (pf.load(f"{name}.safetensors").state_dict() for name in ("whole", "half"))
    assert all((whole[name] == half[name]).all() for name in whole)
    start = pf.load(folder / "sce-mi.safetensors").state_dict()
    assert any((whole[name] != start[name]).any() for name in whole)


def test_published_data_sets_are_read(folder, tmp_path):
    for speaker in ("84", "1272"):
        voice = files.read(folder / "speech" / "ann" / "1.wav")[0]
        put(tmp_path / "libri" / speaker / "121123" / f"{speaker}-121123-0000.wav", voice)
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold, kind in ((1, "dog_bark"), (2, "siren"), (3, "jackhammer")):
        put(tmp_path / "urban" / "audio" / f"fold{fold}" / f"{fold}-0-0-0.wav", files.read(folder / "mixture.wav")[0])
        rows.append(f"{fold}-0-0-0.wav,{fold},0,1,1,{fold},0,{kind}")
    (tmp_path / "urban" / "metadata").mkdir()
    (tmp_path / "urban" / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    inputs = ("--speech", "libri", "--noise", "urban", "--set", "folds=1-3")
    assert partae("train", "--model", "sce", *inputs, *TINY, *EMBEDDING, *QUIET, "--steps", 1, "--out", "m") == 0
    config = pf.load("m").config()
    assert (config["voices"], config["noises"]) == (2, 2)


@pytest.mark.parametrize(
    ("model", "inputs", "settings", "message"),
    [
        ("sce-mi", ("noise",), {}, "model sce-mi needs folders of speech (--speech)"),
        ("snmf", ("speech",), {}, "model snmf needs noise-only recordings (--noise)"),
        ("dae-30", ("speech", "nothing"), {}, "nothing"),
        ("dc-mi", ("speech", "noise"), {"seconds": 2.5}, "voice ann: has 2.00 s, but a mixture has 2.5 s; pass more"),
        ("sce", ("speech", "noise"), {"units": 3}, "there is no setting 'units'; the settings are"),
        ("sce-mi", ("speech", "noise"), {"snr_low": 6}, "snr is (6.0, 5.0)"),
        ("dae-30", ("speech", "noise"), {"filters": 0}, "filters is 0"),
        ("snmf", ("speech", "noise"), {"folds": "1"}, "so its files have no folds; leave folds out"),
        ("sce", ("speech", "noise"), {"folds": "a"}, "folds is 'a'; give numbers joined by -"),
    ],
)
def test_bad_input_is_refused(folder, capsys, model, inputs, settings, message):
    capsys.readouterr()
    changed = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    if "nothing" in inputs:
        inputs, changed = ("speech",), ["--noise", folder / "nothing"]
    assert train(model, folder, "m.safetensors", *changed, inputs=inputs) == 2
    refused(capsys, message)


def test_missing_scikit_learn_is_reported(folder, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    for verb, out in (("denoise", "c.wav"), ("separate", "s")):
        assert partae(verb, folder / "sce.safetensors", folder / "mixture.wav", "--out", out, *QUIET) == 2
        refused(capsys, "clusters need scikit-learn; pip install 'partae-fast[separation]'")
