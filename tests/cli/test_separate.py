"""Tests of `partae separate`."""

import json

import numpy as np
import pytest
import soundfile

import partae_fast as pf


@pytest.fixture
def model(tmp_path):
    made = pf.ConvDAESeparator(["vocals", "drums"], bins=25, frames=6)
    made.spectrogram = pf.Spectrogram(rate=8000, n_fft=48, hop=12, low=0.0, high=4000.0)
    pf.save(made, tmp_path / "band.safetensors")
    soundfile.write(tmp_path / "mix.wav", np.random.default_rng(0).normal(0, 0.1, (999, 2)), 8000)
    return tmp_path


def test_one_file_per_source(model, partae):
    first = partae("separate", model / "band.safetensors", model / "mix.wav", "--out", model / "out", "--json", "-q")
    outputs = {name: str(model / "out" / f"{name}.wav") for name in ("vocals", "drums")}
    assert first[0] == 0
    assert json.loads(first[1]) == {"input": str(model / "mix.wav"), "outputs": outputs, "seconds": 999 / 8000}
    again = partae("separate", model / "band.safetensors", model / "mix.wav", "--out", model / "out", "-q")
    assert again[0] == 2 and "exists" in again[2] and again[2].count("\n") == 1
    more = partae(
        *("separate", model / "band.safetensors", model / "mix.wav", "--out", model / "out"),
        *("--overwrite", "--step", "3", "--clipping", "float", "-q"),
    )
    assert more[0] == 0 and more[1].splitlines() == [f"{model / 'mix.wav'} -> {path}" for path in outputs.values()]


def test_wrong_model_and_invalid_step_are_refused(model, partae):
    where = (model / "mix.wav", "--out", model / "out", "-q")
    wrong = partae("separate", model / "band.safetensors", *where, "--step", "4")
    assert wrong[0] == 2 and "step is 4; it must divide the 6 frames of a segment" in wrong[2]
    pf.save(pf.ConvPartitionedAutoencoder(bins=25), model / "d.safetensors")
    other = partae("separate", model / "d.safetensors", *where)
    assert other[0] == 2 and "does not separate mixtures into sources; use denoise" in other[2]
    assert not (model / "out").exists()
