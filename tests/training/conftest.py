"""Fixtures for a small training run: 6 bins, 8 latents, crops of 48 frames, batches of 4."""

import numpy as np
import pytest

from partae_fast.models.conv_partitioned import ConvPartitionedAutoencoder
from partae_fast.sampling.crops import CropSampler
from partae_fast.training.trainer import Trainer

BINS, FRAMES, BATCH = 6, 48, 4


def _material(seed=0):
    random = np.random.default_rng(seed)
    songs = random.gamma(1.0, 1.0, (150, BINS)) * (np.arange(150)[:, None] // 10 % 2)
    return [
        [[(songs + random.gamma(1.0, 0.3, songs.shape)).astype(np.float32)]],
        [[random.gamma(1.0, 0.3, (200, BINS)).astype(np.float32)]],
    ]


def _make_sampler(seed=0, **settings):
    return CropSampler(*_material(seed), **{"frames": FRAMES, "batch": BATCH, "seed": seed} | settings)


def _make_model(seed=0, **rectifiers):
    return ConvPartitionedAutoencoder(BINS, latents=8, taps=3, pool=8, background=0.25, seed=seed, **rectifiers)


def _make_trainer(seed=0, watch=None, progress=None, **settings):
    trainer = Trainer(_make_model(seed), _make_sampler(seed), **{"backend": "eager"} | settings)
    trainer.watch, trainer.progress = watch, progress
    return trainer


@pytest.fixture
def material():
    """Return a function of a seed that returns signal groups and noise groups."""
    return _material


@pytest.fixture
def make_sampler():
    """Return a function of a seed and settings that returns a CropSampler."""
    return _make_sampler


@pytest.fixture
def make_model():
    """Return a function of a seed, negative_slope and rectified_output that returns a model."""
    return _make_model


@pytest.fixture
def make_trainer():
    """Return a function of a seed and settings that returns a Trainer, on the eager back-end by default."""
    return _make_trainer
