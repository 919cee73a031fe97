"""Partitioned autoencoders that learn to denoise from noisy recordings alone.

    import partae_fast as pf

    model = pf.fit(["dawn.wav"], noise=["rain.wav"])  # learn from noisy audio and noise-only audio
    denoised = pf.denoise(audio, rate, model)         # array in, array out
    pf.save(model, "dawn.safetensors")

See `pf.fit`, `pf.denoise`, `pf.Trainer`, `pf.Sweep`, `pf.CropSampler`, `pf.ConvPartitionedAutoencoder`, and for the
kernels `pf.encode`, `pf.decode`, `pf.partitioned_loss` and `pf.backends`.
"""

from .audio import Spectrogram
from .denoising import Mask, denoise, separate
from .errors import UserError
from .functional import (
    affinity_loss,
    contrastive_loss,
    conv2d_pool,
    curro_loss,
    decode,
    dense,
    encode,
    partitioned_loss,
    ratio_mask_loss,
    upsample_conv2d,
)
from .kernels import Backend, BackendUnavailable, backends
from .models import (
    AdaptiveDenoisingAutoencoder,
    ConvDAESeparator,
    ConvDenoisingAutoencoder,
    ConvPartitionedAutoencoder,
    CurroAutoencoder,
    DenseAutoencoder,
    DensePartitionedAutoencoder,
    FeedForwardSeparator,
    load,
    save,
)
from .sampling.crops import CropSampler
from .sampling.mixture_files import Mixture, read_mixtures, write_mixtures
from .sampling.mixtures import MixtureSampler
from .sweeps.grid import Member
from .sweeps.sweep import Sweep
from .systems.fit import fit
from .systems.fit import fit_system as fit_system
from .training.checkpoint import Checkpoint
from .training.material import Material
from .training.options import TrainingOptions
from .training.schedules import Plateau, Stairs
from .training.trainer import History, Trainer

__version__ = "0.1.0"

__all__ = [
    "AdaptiveDenoisingAutoencoder",
    "Backend",
    "BackendUnavailable",
    "Checkpoint",
    "ConvDAESeparator",
    "ConvDenoisingAutoencoder",
    "ConvPartitionedAutoencoder",
    "CropSampler",
    "CurroAutoencoder",
    "DenseAutoencoder",
    "DensePartitionedAutoencoder",
    "FeedForwardSeparator",
    "History",
    "Mask",
    "Material",
    "Member",
    "Mixture",
    "MixtureSampler",
    "Plateau",
    "Spectrogram",
    "Stairs",
    "Sweep",
    "Trainer",
    "TrainingOptions",
    "UserError",
    "affinity_loss",
    "backends",
    "contrastive_loss",
    "conv2d_pool",
    "curro_loss",
    "decode",
    "denoise",
    "dense",
    "encode",
    "fit",
    "load",
    "partitioned_loss",
    "ratio_mask_loss",
    "read_mixtures",
    "save",
    "separate",
    "upsample_conv2d",
    "write_mixtures",
]
