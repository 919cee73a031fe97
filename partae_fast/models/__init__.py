"""The published systems, one file each, and how they are kept on disk."""

from .conv_partitioned import ConvPartitionedAutoencoder
from .storage import load, save

__all__ = ["ConvPartitionedAutoencoder", "load", "save"]
