"""The networks of the published systems, a file for each, and their storage."""

from .adaptive_dae import AdaptiveDenoisingAutoencoder
from .cdae import ConvDAESeparator
from .conv_partitioned import ConvPartitionedAutoencoder
from .curro import CurroAutoencoder
from .dae30 import DAE30
from .denoising_conv import ConvDenoisingAutoencoder
from .dense import DenseAutoencoder
from .dense_partitioned import DensePartitionedAutoencoder
from .embedding import EmbeddingSeparator
from .filtered_denoising import FilteredDenoisingAutoencoder
from .fnn import FeedForwardSeparator
from .noise_filter import FilterModel
from .snmf import SparseNMF
from .storage import load, save

__all__ = [
    "DAE30",
    "AdaptiveDenoisingAutoencoder",
    "ConvDAESeparator",
    "ConvDenoisingAutoencoder",
    "ConvPartitionedAutoencoder",
    "CurroAutoencoder",
    "DenseAutoencoder",
    "DensePartitionedAutoencoder",
    "EmbeddingSeparator",
    "FeedForwardSeparator",
    "FilterModel",
    "FilteredDenoisingAutoencoder",
    "SparseNMF",
    "load",
    "save",
]
