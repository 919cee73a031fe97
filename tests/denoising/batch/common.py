"""Helpers of the tests of batches."""

import json
from pathlib import Path

import numpy as np
import soundfile

import partae_fast as pf
from partae_fast.audio import Spectrogram
from partae_fast.denoising.batch.folder import denoise_folder
from partae_fast.denoising.batch.jobs import Job
from partae_fast.denoising.batch.journal import NAME

RATE = 22050


def recording(path, seed=0, length=2000, **settings):
    """Write a short recording, and create its folders; return its path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, length).astype(np.float32)
    soundfile.write(path, samples, RATE, **settings)
    return path


def model_file(path, seed=0):
    model = pf.ConvPartitionedAutoencoder(bins=32, latents=4, taps=3, pool=4, seed=seed)
    model.spectrogram, model.mask = Spectrogram(bins=32), pf.Mask()
    pf.save(model, path)
    return path


RESULTS = ["a.wav", "b.flac", "night/c.wav", "night/late/d.wav"]


def run(*inputs, out="clean", model="m", **settings):
    return denoise_folder(model, inputs or ("june",), out, **settings)


def targets(outcomes, out="clean"):
    """Return the outputs of outcomes or jobs, relative to `out`."""
    return [str((o if isinstance(o, Job) else o.job).target.relative_to(out)) for o in outcomes]


def lines(out="clean"):
    """Return the lines of the journal."""
    return [json.loads(line) for line in (Path(out) / NAME).read_text().splitlines()]


def results(out="clean"):
    """Return all files in `out`, including hidden ones, without the journal."""
    names = [str(path.relative_to(out)) for path in Path(out).rglob("*") if path.is_file()]
    return sorted(set(names) - {NAME})
