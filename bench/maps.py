"""Contests of convolutions of maps: ours, and the peers in both orders of storage, channels last and channels first."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace

import torch
from torch import Tensor

from . import passes, peers
from .common import Check, Contest
from .timing import Work

FIRST = ", channels first"
Layer = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]


def inputs(shape: dict[str, int], device: str) -> dict[str, Tensor]:
    """x (B, N, H, C), weight (3, 3, C, D) and bias (D,)."""
    batch, frames, bins, channels, filters = (shape[name] for name in ("B", "N", "H", "C", "D"))
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator).to(device)

    x = draw(batch, frames, bins, channels)
    weight, bias = (draw(3, 3, channels, filters) - 0.4) / (9 * channels) ** 0.5, draw(filters) - 0.5
    return {"x": x, "weight": weight, "bias": bias}


def peer_names(device: str) -> list[str]:
    return [version for name in peers.names(device) for version in (name, name + FIRST)]


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
    """The contest of a pass. x gets a gradient only where it has channels: a spectrogram is data.

    `ours` take and return what the op does, its values first. `peer` gets (B, C, N, H) and (D, C, 3, 3), as PyTorch
    has it, in either order of storage. `works` are those of the passes. The gradient of the values is random.
    """
    x, weight, bias = data.values()
    first = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # the same numbers, otherwise stored
    grad = torch.rand(next(iter(ours.values()))(x, weight, bias)[0].shape, generator=torch.Generator().manual_seed(1))
    versions = {}
    for name, f in peers.compiled(_in_pytorchs_order(peer), device).items():
        versions[name] = lambda t, f=f: f(t.x, t.weight, t.bias)
        versions[name + FIRST] = lambda t, f=f: f(t.first, t.weight, t.bias)

    def leaves(version: str) -> list[str]:
        maps = ["first" if version.endswith(FIRST) else "x"] if x.shape[3] > 1 else []
        return [*maps, "weight", "bias"]

    return passes.contest(
        op,
        op_pass,
        device,
        {"x": x, "first": first, "weight": weight, "bias": bias},
        {name: lambda t, f=f: f(t.x, t.weight, t.bias) for name, f in ours.items()},
        versions,
        grad.to(device),
        work=works[op_pass],
        truth=truth,
        leaves=leaves,
        scaled=("x", "first"),
        of_peer=of_peer,
    )


def _in_pytorchs_order(peer: Layer) -> Layer:
    def call(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        outputs = peer(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias)
        return tuple(out.permute(0, 2, 3, 1) for out in outputs)

    return call
