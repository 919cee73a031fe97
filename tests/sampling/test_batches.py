"""Samplers as iterable datasets, with and without the workers of a DataLoader."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import partae_fast as pf
from partae_fast.audio.frame_input import FrameInput
from partae_fast.errors import UserError
from partae_fast.sampling.frames import ChordSampler, RecordedFrames
from partae_fast.sampling.mixtures import MixtureSampler
from partae_fast.sampling.segments import SegmentSampler
from partae_fast.systems.adaptive_dae import StackSampler
from partae_fast.training.reservoir import ReservoirSampler

random = np.random.default_rng(0)
SOUND = random.normal(0, 0.1, 900).astype(np.float32)
SPECTRA = [random.random((60, 3)).astype(np.float32), random.random((50, 3)).astype(np.float32)]
ALL = pf.Spectrogram(rate=400, n_fft=32, hop=16, low=0.0, high=200.0)

SAMPLERS = {
    "crops": lambda: pf.CropSampler(signal=[SPECTRA], noise=[SPECTRA], frames=16, batch=4),
    "reservoir": lambda: ReservoirSampler([SPECTRA * 9], [SPECTRA], 5, 4, 0.25, 0, mebibytes=0.01),
    "chords": lambda: ChordSampler(FrameInput(n_fft=32), batch=4, noise_only=0.25),
    "frames": lambda: RecordedFrames([SOUND], [SOUND], FrameInput(n_fft=32), snr=0.0, batch=4),
    "mixtures": lambda: MixtureSampler({"a": [SOUND]}, {"b": [SOUND]}, rate=400, batch=2, n_fft=32, hop=16),
    "stacks": lambda: StackSampler([SPECTRA[0].astype(np.complex64)], [SPECTRA[1].astype(np.complex64)], 3, 4, 0),
    "segments": lambda: SegmentSampler([np.stack([SOUND, SOUND])], ALL, 4, 3, 0),
}


def equal(first, second):
    return len(first) == len(second) and all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", SAMPLERS)
def test_iteration_yields_the_batches_of_steps_0_1_2(name):
    sampler, indexed = SAMPLERS[name](), SAMPLERS[name]()
    for step, batch in enumerate(itertools.islice(sampler, 12)):
        indexed.ready(step)
        assert equal(batch, indexed.batch_at(step)), step
    assert equal(next(iter(sampler)), SAMPLERS[name]().batch_at(0))  # each iteration starts at step 0


def test_a_target_that_differs_from_x_is_the_third_tensor():
    sampler = pf.CropSampler(signal=[SPECTRA], noise=[SPECTRA], corruption=[SPECTRA], frames=16, batch=4)
    batch = next(iter(sampler))
    assert equal(batch, (*sampler.batch_at(0), sampler.target_at(0)))
    pf.ConvDenoisingAutoencoder(bins=3, latents=4).training_loss(batch, 0.0, "eager").backward()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_data_loader_yields_each_batch_once_in_order(workers):
    sampler = SAMPLERS["crops"]()
    loader = DataLoader(sampler, batch_size=None, num_workers=workers)
    for step, batch in enumerate(itertools.islice(loader, 7)):
        assert equal(batch, sampler.batch_at(step)), step


def test_a_reservoir_refuses_workers():
    loader = DataLoader(SAMPLERS["reservoir"](), batch_size=None, num_workers=1)
    with pytest.raises(UserError, match="num_workers=0"):
        next(iter(loader))
