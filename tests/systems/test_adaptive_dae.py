"""Tests of the adaptive denoising autoencoder and `partae denoise --adapt`."""

import csv

import numpy as np
import pytest
import torch

from partae_fast.audio.files import write
from partae_fast.cli import main
from partae_fast.reference.sampler import draw
from partae_fast.systems.adaptive_dae import StackSampler
from tests.calls import fit

RATE = 4000
SMALL = {"rate": RATE, "n_fft": 32, "hop": 8, "context": 3, "hidden": 16, "batch": 8}


def tone(seconds, frequency, seed=0):
    time = np.arange(round(seconds * RATE)) / RATE
    level = 0.5 + 0.5 * np.sin(2 * np.pi * (3 + seed) * time)
    return (0.1 * level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.fixture
def recordings():
    noise = np.random.default_rng(0).normal(0, 0.1, RATE // 2).astype(np.float32)
    return {"clean": [(tone(0.5, 700), RATE), (tone(0.3, 900), RATE)], "noise": [(noise, RATE)]}


def test_batch_adds_spectra_drawn_by_counter():
    random = np.random.default_rng(0)
    clean, noise = (
        [(random.normal(size=(n, 4)) + 1j * random.normal(size=(n, 4))).astype(np.complex64) for n in sizes]
        for sizes in ((5, 3), (7,))
    )
    sampler = StackSampler(clean, noise, context=3, batch=6, seed=11)
    mixture, target = (part.numpy() for part in sampler.batch_at(9))
    padded = [np.pad(spectra, ((1, 1), (0, 0))) for spectra in (*clean, *noise)]
    for item in range(6):
        start = draw(11, 9, item, 0, 8)
        voice = padded[0][start : start + 3] if start < 5 else padded[1][start - 5 : start - 2]
        start = draw(11, 9, item, 1, 7)
        np.testing.assert_allclose(target[item], np.abs(voice).ravel(), rtol=1e-6)
        np.testing.assert_allclose(mixture[item], np.abs(voice + padded[2][start : start + 3]).ravel(), rtol=1e-5)
    some = sampler.batch_at(9, range(2, 4))
    assert np.array_equal(some[0], mixture[2:4]) and np.array_equal(some[1], target[2:4])


@pytest.mark.parametrize("snr", [0.0, -6.0])
def test_mixtures_have_the_ratio_and_the_level(recordings, snr, monkeypatch):
    samplers = []
    monkeypatch.setattr(
        "partae_fast.systems.adaptive_dae.train", lambda model, sampler, *_, **__: samplers.append(sampler) or model
    )
    model = fit(system="adaptive-dae", **recordings, settings=SMALL | {"snr": snr, "level": 0.5})
    (sampler,) = samplers
    noise, clean = (float(part[1:-1].abs().square().mean()) for part in (sampler.noise, sampler.clean))
    assert 10 * np.log10(clean / noise) == pytest.approx(snr, abs=0.6)
    mixture = torch.cat([sampler.batch_at(step)[0] for step in range(50)])
    assert float(mixture.square().mean().sqrt()) == pytest.approx(0.5, rel=0.1)
    assert model.level == 0.5


def test_resumed_training_gives_the_same_model(recordings, tmp_path):
    model = fit(system="adaptive-dae", **recordings, settings=SMALL, steps=60, learning_rate=1e-4)
    losses = np.array(model.history.loss)
    assert losses[-10:].mean() < 0.7 * losses[:10].mean()
    assert 0 < model.purity < 1 and max(p.abs().max() for p in model.parameters()) <= 1
    checkpoint = {"checkpoint": tmp_path / "c", "learning_rate": 1e-4}
    fit(system="adaptive-dae", **recordings, settings=SMALL, steps=25, **checkpoint)
    again = fit(system="adaptive-dae", **recordings, settings=SMALL, steps=60, resume=True, **checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_train_and_adapt_from_the_command_line(recordings, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    clean, noise = (recordings[kind][0][0] for kind in ("clean", "noise"))
    write("voice.wav", clean, RATE)
    write("hum.wav", noise, RATE)
    write("mixed.wav", clean + noise[: len(clean)], RATE)
    options = [f"--set={name}={value}" for name, value in SMALL.items()]
    train = ["train", "--model", "adaptive-dae", "--clean", "voice.wav", "--noise", "hum.wav", *options]
    assert main([*train, "--out", "m", "--steps", "5", "-q"]) == 0
    capsys.readouterr()
    adapt = ["denoise", "m", "mixed.wav", "--out", "out.wav", "--adapt", "3", "--keep-best", "-q"]
    assert main([*adapt, "--trace", "t.csv", "--reference", "voice.wav"]) == 0
    lines = capsys.readouterr().out.splitlines()
    with open("t.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["epoch", "purity_error", "sdr_db", "sir_db", "sar_db"]
    assert [f"epoch {row['epoch']}  purity error {row['purity_error']}  " for row in rows] == [
        line[: line.index("sdr")] for line in lines[: len(rows)]
    ]
    assert lines[len(rows)].startswith("adapted for ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--keep-best"], "--adapt"),
        (["--adapt", "3", "--reference", "x.wav"], "--trace"),
        (["--adapt", "3"], "one recording"),
    ],
)
def test_options_that_cannot_be_combined_are_refused(options, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x.wav", "y.wav"):
        write(name, np.zeros(100, np.float32), RATE)
    several = ["y.wav", "--out", "out"] if message == "one recording" else ["--out", "out.wav"]
    assert main(["denoise", "m", "x.wav", *several, *options]) == 2
    assert message in capsys.readouterr().err
