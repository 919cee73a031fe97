"""A current folder with two recordings and a model, and `partae` as a function."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from partae_fast import cli
from partae_fast.audio import files

ROOT = Path(__file__).resolve().parents[2]
RATE = 22050
FAST = ("--steps", "3", "--backend", "eager", "--threads", "1")


def sound(seconds, seed, rate=RATE, channels=1, songs=False):
    """Noise (T, channels), with chirps from 2 to 6 kHz in it if `songs`."""
    random = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    out = 0.05 * random.standard_normal((len(t), channels))
    if songs:
        chirp = np.sin(2 * np.pi * (2000 * (t % 0.5) + 4000 * (t % 0.5) ** 2)) * (t % 0.5 < 0.2)
        out += 0.2 * chirp[:, None]
    return out.astype(np.float32)


def write(path, samples, rate=RATE, subtype="FLOAT"):
    files.write(path, samples, rate, subtype)
    return path


@pytest.fixture(scope="session")
def material(tmp_path_factory):
    """A folder with song.wav, noise.wav and m.safetensors; tests copy out of it and leave it as it is."""
    folder = tmp_path_factory.mktemp("material")
    write(folder / "song.wav", sound(3, 1, songs=True))
    write(folder / "noise.wav", sound(2, 2))
    arguments = [
        "train",
        folder / "song.wav",
        "--noise",
        folder / "noise.wav",
        "--out",
        folder / "m.safetensors",
        *FAST,
    ]
    assert cli.main([str(a) for a in arguments]) == 0
    (folder / "m.safetensors.history.jsonl").unlink()
    return folder


@pytest.fixture
def here(material, tmp_path, monkeypatch):
    """A copy of the material as current folder."""
    for path in material.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def partae(here, capsys):
    """partae("train", ...) -> exit code, stdout, stderr."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run
