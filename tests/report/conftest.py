"""A model and a recording for the tests of the report."""

import numpy as np
import pytest
import torch

import partae_fast as pf
from partae_fast.audio import files

RATE = 22050


def sound(seconds, song=(0.0, 0.0), rate=RATE, seed=0):
    """Return white noise with a tone of 4 kHz from `song[0]` to `song[1]` seconds."""
    t = np.arange(round(seconds * rate)) / rate
    noise = 0.02 * np.random.default_rng(seed).standard_normal(len(t))
    return (noise + 0.2 * np.sin(2 * np.pi * 4000 * t) * (t >= song[0]) * (t < song[1])).astype(np.float32)


@pytest.fixture
def model():
    """Return an untrained model whose foreground responds to 4 kHz only."""
    model = pf.ConvPartitionedAutoencoder(bins=32, latents=4, taps=3, pool=4)
    model.spectrogram, model.mask = pf.Spectrogram(bins=32), pf.Mask()
    model.backend = "eager"
    with torch.no_grad():
        model.w_enc[:, :, 1:], model.w_dec[:, 1:] = 0, 0
        model.w_enc[1, 13, 1], model.w_dec[1, 1, 13] = 1, 1
    return model


@pytest.fixture
def here(model, tmp_path, monkeypatch):
    """Change to a folder with m.safetensors and song.wav, 3 s with a song from 1 to 2 s."""
    pf.save(model, tmp_path / "m.safetensors")
    files.write(tmp_path / "song.wav", sound(3, (1, 2)), RATE, "FLOAT")
    monkeypatch.chdir(tmp_path)
    return tmp_path
