"""Fixtures: a folder with recordings and a model, and `partae` as a function."""

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
    """Return noise (T, channels), with chirps from 2 to 6 kHz if `songs` is true."""
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
    """Return a folder with song.wav, noise.wav and m.safetensors.

    Tests copy from it and never change it.
    """
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
    """Copy the material into a new working directory."""
    for path in material.iterdir():
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def partae(here, capsys):
    """Return partae("train", ...), which returns the exit code, stdout and stderr."""

    def run(*arguments):
        capsys.readouterr()
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def refused(partae, here):
    """Return refused(...), which checks that a command fails with exit code 2.

    The command must change no file.

    It returns the one line on stderr.
    """

    def run(*arguments):
        before = {p: p.read_bytes() for p in here.rglob("*") if p.is_file()}
        code, out, err = partae(*arguments, "--quiet")
        assert (code, out) == (2, ""), err
        assert err.endswith("\n") and err.count("\n") == 1
        assert err.startswith((f"partae {arguments[0]}: ", "partae: "))
        assert {p: p.read_bytes() for p in here.rglob("*") if p.is_file()} == before
        return err

    return run
