"""The ops of networks in plain PyTorch, with the arguments and results of partae's.

`replaced` lets a model of partae compute with them, so that a peer differs from partae's version in its ops alone.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from partae_fast import functional

from .bench_contrastive import peer as contrastive
from .bench_ratio_mask import peer as ratio_mask
from .maps import CHANNELS_FIRST

Ops = dict[str, Callable[..., Any]]
EPSILON, SLOPE = 1e-5, 0.01  # of mrelu and leaky_relu


def dense(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    activation: str = "identity",
    dropout: float = 0.0,
    seed: int = 0,
    step: int = 0,
    layer: int = 0,
    backend: str = "",
) -> Tensor:
    """Return the output of a dense layer; PyTorch's own generator draws the outputs that are dropped."""
    z = x @ weight if bias is None else torch.addmm(bias, x, weight)
    if activation == "mrelu":
        z = torch.where(z >= EPSILON, z, -EPSILON / (z - 1 - EPSILON))
    elif activation != "identity":
        z = F.relu(z) if activation == "relu" else F.leaky_relu(z, SLOPE)
    return F.dropout(z, dropout) if dropout else z


def curro_loss(signal: Tensor, noise: Tensor, target: Tensor, noise_only: Tensor, backend: str = "") -> Tensor:
    """Return the loss of the Curro autoencoder."""
    return ((1 - noise_only)[:, None] * signal + noise - target).square().sum() / len(signal)


def contrastive_loss(e: Tensor, table: Tensor, sources: Tensor, labels: Tensor, backend: str = "") -> Tensor:
    """Return the loss of source-contrastive estimation."""
    return contrastive(e, table, sources, labels)


def ratio_mask_loss(logits: Tensor, mixture: Tensor, sources: Tensor, backend: str = "") -> Tensor:
    """Return the loss of mask inference."""
    return ratio_mask(logits, mixture, sources)


def _map_ops(memory_format: torch.memory_format) -> Ops:
    """Return the convolutions of maps, which compute in this memory format."""

    def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        x, filters = (t.contiguous(memory_format=memory_format) for t in (x, weight.permute(3, 2, 0, 1)))
        return F.conv2d(x, filters, bias, padding=1).relu()

    def conv2d_pool(
        x: Tensor, weight: Tensor, bias: Tensor, pool: tuple[int, int] = (1, 1), backend: str = ""
    ) -> tuple[Tensor, Tensor | None]:
        z = convolve(x.permute(0, 3, 1, 2), weight, bias)
        return (z if tuple(pool) == (1, 1) else F.max_pool2d(z, pool, ceil_mode=True)).permute(0, 2, 3, 1), None

    def upsample_conv2d(
        x: Tensor, weight: Tensor, bias: Tensor, scale: tuple[int, int] = (1, 1), backend: str = ""
    ) -> Tensor:
        z = F.interpolate(x.permute(0, 3, 1, 2), scale_factor=tuple(scale))
        return convolve(z, weight, bias).permute(0, 2, 3, 1)

    return {"conv2d_pool": conv2d_pool, "upsample_conv2d": upsample_conv2d}


_LAYERS: Ops = {
    "dense": dense,
    "curro_loss": curro_loss,
    "contrastive_loss": contrastive_loss,
    "ratio_mask_loss": ratio_mask_loss,
}
# By the end of a version's name; the convolutions of other versions compute in channels-last memory.
OPS = {
    "": _LAYERS | _map_ops(torch.channels_last),
    CHANNELS_FIRST: _LAYERS | _map_ops(torch.contiguous_format),
}


def ops_of(version: str) -> Ops:
    """Return the ops of a peer."""
    return OPS[CHANNELS_FIRST if version.endswith(CHANNELS_FIRST) else ""]


@contextlib.contextmanager
def replaced(ops: Ops) -> Iterator[None]:
    """Replace functions of `partae_fast.functional`, which the models call, in the block."""
    originals = {name: getattr(functional, name) for name in ops}
    try:
        for name, function in ops.items():
            setattr(functional, name, function)
        yield
    finally:
        for name, function in originals.items():
            setattr(functional, name, function)
