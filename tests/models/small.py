"""A small model of each class, with a spectrogram and, for the classes that use one, a mask."""

import torch

from partae_fast.audio import Spectrogram
from partae_fast.denoising import Mask
from partae_fast.models import (
    DAE30,
    AdaptiveDenoisingAutoencoder,
    ConvDAESeparator,
    ConvDenoisingAutoencoder,
    ConvPartitionedAutoencoder,
    CurroAutoencoder,
    DenseAutoencoder,
    DensePartitionedAutoencoder,
    EmbeddingSeparator,
    FeedForwardSeparator,
    SparseNMF,
)

RATE = 8000
# Settings that make each class small, and values of settings that `load_state_dict` restores.
CLASSES = {
    ConvPartitionedAutoencoder: (
        {"bins": 17, "latents": 4, "taps": 3, "pool": 4},
        {"background": 0.5, "negative_slope": 0.25},
    ),
    ConvDenoisingAutoencoder: ({"bins": 17, "latents": 4, "taps": 3, "pool": 4}, {"rectified_output": True}),
    AdaptiveDenoisingAutoencoder: ({"bins": 17, "context": 3, "hidden": 5}, {"dropout": 0.5}),
    CurroAutoencoder: (
        {"n_fft": 32, "hidden": 6, "latents": 4, "decoder": 4, "batch_norm": "every"},
        {"part": "both", "alpha": 0.3},
    ),
    DenseAutoencoder: ({"n_fft": 32, "layers": "6"}, {"l2": 0.5, "rectified_output": True}),
    DensePartitionedAutoencoder: ({"n_fft": 32, "latents": 6}, {"unpenalised": 1, "mean_over_items": True}),
    DAE30: ({"filters": 2, "bins": 17}, {"patch": 5}),
    SparseNMF: ({"bins": 17, "bases": 3, "context": 1}, {"sparsity": 2.0, "iterations": 4}),
    EmbeddingSeparator: ({"bins": 17, "layers": 1, "hidden": 3, "dimensions": 2}, {"alpha": 0.5, "affinity": "norm"}),
    ConvDAESeparator: ({"sources": ["a", "b"], "bins": 25, "frames": 6}, {}),
    FeedForwardSeparator: ({"sources": ["a", "b"], "bins": 17}, {}),
}


def small(kind, **settings):
    """Return a model without spectrogram and mask, with filled buffers."""
    model = kind(**CLASSES[kind][0] | settings)
    for number, buffer in enumerate(model.buffers()):
        if buffer.ndim:
            buffer.copy_(torch.linspace(0.5, 1.5 + number, buffer.numel()).view(buffer.shape))
    return model


def small_with_settings(kind):
    """Return a model that differs from `small` in every setting that `load_state_dict` restores."""
    model = small(kind, **CLASSES[kind][1])
    model.seed = 5
    n_fft = 2 * (model.bins - 1)
    model.spectrogram = Spectrogram(rate=RATE, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=RATE / 2, gain=3.0)
    if isinstance(model, ConvPartitionedAutoencoder | ConvDenoisingAutoencoder):
        model.mask = Mask(exponent=1.5, smoothing=3)
    return model
