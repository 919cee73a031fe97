"""The published systems, one file each, and how they are kept on disk."""

from .conv_partitioned import ConvPartitionedAutoencoder
from .denoising_conv import ConvDenoisingAutoencoder
from .storage import load, save

__all__ = ["ConvDenoisingAutoencoder", "ConvPartitionedAutoencoder", "load", "save"]
