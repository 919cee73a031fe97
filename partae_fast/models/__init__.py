"""The published systems, one file each, and how they are kept on disk."""

from .cdae import ConvDAESeparator
from .conv_partitioned import ConvPartitionedAutoencoder
from .denoising_conv import ConvDenoisingAutoencoder
from .fnn import FeedForwardSeparator
from .storage import load, save

__all__ = [
    "ConvDAESeparator",
    "ConvDenoisingAutoencoder",
    "ConvPartitionedAutoencoder",
    "FeedForwardSeparator",
    "load",
    "save",
]
