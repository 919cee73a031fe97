"""Models for the tests of denoising."""

import pytest

from partae_fast.audio import Spectrogram
from partae_fast.denoising import Mask
from partae_fast.models import ConvPartitionedAutoencoder


@pytest.fixture
def untrained():
    """Return an untrained model with a spectrogram and a mask."""
    model = ConvPartitionedAutoencoder(bins=32, latents=8, taps=9, pool=16)
    model.spectrogram, model.mask, model.backend = Spectrogram(bins=32), Mask(), "eager"
    return model
