"""What the tests of denoising share."""

import pytest

from partae_fast.audio import Spectrogram
from partae_fast.denoising import Mask
from partae_fast.models import ConvPartitionedAutoencoder


@pytest.fixture
def real():
    """The real model, untrained, as a trained one is used."""
    model = ConvPartitionedAutoencoder(bins=32, latents=8, taps=9, pool=16)
    model.spectrogram, model.mask, model.backend = Spectrogram(bins=32), Mask(), "eager"
    return model
