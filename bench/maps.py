"""Contests of convolutions of maps, with peers in two memory formats: channels last and first."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from . import passes, peers
from .common import Check, Contest
from .timing import Work

CHANNELS_FIRST = ", channels first"
Layer = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]


def inputs(shape: dict[str, int], device: str) -> dict[str, Tensor]:
    """Return x, (B, N, H, C), weight, (3, 3, C, D), and bias, (D,)."""
    batch, frames, bins, channels, filters = (shape[name] for name in ("B", "N", "H", "C", "D"))
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator).to(device)

    x = draw(batch, frames, bins, channels)
    weight, bias = (draw(3, 3, channels, filters) - 0.4) / (9 * channels) ** 0.5, draw(filters) - 0.5
    return {"x": x, "weight": weight, "bias": bias}


def peer_names(device: str) -> list[str]:
    return [version for name in peers.names(device) for version in (name, name + CHANNELS_FIRST)]


def contest(
    op: str,
    op_pass: str,
    device: str,
    data: dict[str, Tensor],
    ours: dict[str, Layer],
    peer: Layer,
    works: dict[str, Work],
    truth: Callable[[SimpleNamespace], Check],
    of_peer: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda outputs: outputs,
) -> Contest:
    """Return the contest of a pass.

    `ours` have the arguments and results of the op, its values first. `peer` takes x, (B, C, N, H), and weight,
    (D, C, 3, 3), as PyTorch does, in both memory formats. `works` has the work of each pass. The gradient of the values
    is random. x has a gradient only if it has several channels: a map with one channel is a spectrogram, which is data.
    """
    x, weight, bias = data.values()
    channels_first = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # equal to x, in the other memory format
    peer = _with_dimensions_of_pytorch(peer)
    grad = torch.rand(peer(x, weight, bias)[0].shape, generator=torch.Generator().manual_seed(1))
    versions = {}
    for name, f in peers.compiled(peer, device).items():
        versions[name] = lambda t, f=f: f(t.x, t.weight, t.bias)
        versions[name + CHANNELS_FIRST] = lambda t, f=f: f(t.channels_first, t.weight, t.bias)

    def leaves(version: str) -> list[str]:
        maps = ["channels_first" if version.endswith(CHANNELS_FIRST) else "x"] if x.shape[3] > 1 else []
        return [*maps, "weight", "bias"]

    return passes.contest(
        op,
        op_pass,
        device,
        {"x": x, "channels_first": channels_first, "weight": weight, "bias": bias},
        {name: lambda t, f=f: f(t.x, t.weight, t.bias) for name, f in ours.items()},
        versions,
        grad.to(device),
        work=works[op_pass],
        truth=truth,
        leaves=leaves,
        scaled=("x", "channels_first"),
        of_peer=of_peer,
    )


def _with_dimensions_of_pytorch(peer: Layer) -> Layer:
    """Return the layer with inputs and outputs in partae's order of dimensions."""

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        outputs = peer(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias)
        return tuple(out.permute(0, 2, 3, 1) for out in outputs)

    return call
