"""Plain PyTorch implementations of the ops, with which the kernels are compared."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

EAGER = "eager"
MAX_AUTOTUNE = "torch.compile max-autotune"
# How the peers are compiled; on a GPU also with CUDA graphs.
COMPILED = {"torch.compile": {}, MAX_AUTOTUNE: {"mode": "max-autotune-no-cudagraphs"}}
ON_GPU = {"torch.compile reduce-overhead": {"mode": "reduce-overhead"}}


def encode(x: Tensor, w_enc: Tensor, pool: int, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and positions, (B, ceil(N/P), K) each, by conv1d and max_pool1d."""
    taps = w_enc.shape[0]
    after = (taps - 1) // 2
    xn = F.pad(((x - mean) / std).transpose(1, 2), (taps - 1 - after, after))
    activations = F.conv1d(xn, w_enc.flip(0).permute(2, 1, 0)).relu()
    values, positions = F.max_pool1d(activations, pool, ceil_mode=True, return_indices=True)
    return values.transpose(1, 2), positions.transpose(1, 2)


def decode(values: Tensor, positions: Tensor, w_dec: Tensor, frames: int) -> Tensor:
    """Return the reconstruction, (B, N, H), by scatter and conv1d."""
    taps = w_dec.shape[0]
    unpooled = values.new_zeros(values.shape[0], frames, values.shape[2]).scatter(1, positions.long(), values)
    padded = F.pad(unpooled.transpose(1, 2), (taps - 1 - taps // 2, taps // 2))
    return F.conv1d(padded, w_dec.flip(0).permute(2, 1, 0)).transpose(1, 2)


def loss(
    reconstruction: Tensor, target: Tensor, values: Tensor, noise_only: Tensor, foreground: Tensor, penalty: float
) -> Tensor:
    """Return the partitioned loss, averaged over items."""
    error = ((target - reconstruction) ** 2).sum((1, 2))
    active = ((foreground * values) ** 2).sum((1, 2))
    return (error + penalty * noise_only / foreground.mean() * active).mean()


def model_loss(
    x: Tensor,
    mean: Tensor,
    std: Tensor,
    w_enc: Tensor,
    w_dec: Tensor,
    noise_only: Tensor,
    foreground: Tensor,
    penalty: float,
    pool: int,
) -> Tensor:
    """Return the loss of a model: encode, decode and the partitioned loss."""
    values, positions = encode(x, w_enc, pool, mean, std)
    return loss(decode(values, positions, w_dec, x.shape[1]), x, values, noise_only, foreground, penalty)


def compiled(function: Callable, device: str) -> dict[str, Callable]:
    """Return the function as it is and compiled in each way, by name."""
    ways = compiled_ways(device)
    return {EAGER: function, **{name: torch.compile(function, **options) for name, options in ways.items()}}


def compiled_ways(device: str) -> dict[str, dict[str, Any]]:
    """Return the options of torch.compile for each way to compile the peers, by name."""
    return {**COMPILED, **(ON_GPU if device == "cuda" else {})}


def names(device: str) -> list[str]:
    """Return the names of the versions that `compiled` returns."""
    return [EAGER, *compiled_ways(device)]
