"""Contests of convolutions of maps: ours, and the peers in both orders of storage, channels last and channels first."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from . import peers
from .common import GATE, Contest, relative
from .timing import Work


def contests(
    op: str,
    shape: dict[str, int],
    device: str,
    ours: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]],
    peer: Callable[[Tensor, Tensor, Tensor], Tensor],
    work: tuple[Work, Work],
    candidate: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    gate: float = GATE,
) -> list[Contest]:
    """Forward, and forward with the gradients; that of x only where it has channels: a spectrogram is data.

    All take x (B, N, H, C), weight (3, 3, C, D) and bias. `peer` is told (B, C, N, H) and (D, C, 3, 3), as PyTorch has
    it, in either order of storage. `work` is that of either contest.
    """
    batch, frames, bins, channels, filters = (shape[name] for name in ("B", "N", "H", "C", "D"))
    generator = torch.Generator().manual_seed(0)

    def draw(*size: int) -> Tensor:
        return torch.rand(*size, generator=generator).to(device)

    x = draw(batch, frames, bins, channels)
    weight, bias = (draw(3, 3, channels, filters) - 0.4) / (9 * channels) ** 0.5, draw(filters) - 0.5
    first = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # the same numbers, otherwise stored
    versions = {}
    for name, f in peers.compiled(_in_pytorchs_order(peer), device).items():
        versions |= {name: (f, x), f"{name}, channels first": (f, first)}
    return [
        Contest(
            op,
            ours={name: lambda f=f: f(x, weight, bias) for name, f in ours.items()},
            peers={name: lambda f=f, m=m: f(m, weight, bias) for name, (f, m) in versions.items()},
            candidate=candidate and (lambda: candidate(x, weight, bias)),
            work=work[0],
            difference=relative,
        ),
        Contest(
            f"{op} forward+backward",
            ours={name: _with_gradients(f, x, weight, bias) for name, f in ours.items()},
            peers={name: _with_gradients(f, m, weight, bias) for name, (f, m) in versions.items()},
            work=work[1],
            difference=relative,
            gate=gate,
        ),
    ]


def _in_pytorchs_order(peer: Callable[..., Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return peer(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias).permute(0, 2, 3, 1)

    return call


def _with_gradients(forward: Callable[..., Tensor], x: Tensor, weight: Tensor, bias: Tensor) -> Callable[[], Any]:
    """A call that returns the gradients of the sum of squared activations, through leaves of its own."""
    leaves = [x.detach().requires_grad_(x.shape[3] > 1), *(t.detach().requires_grad_() for t in (weight, bias))]

    def call() -> tuple[Tensor, ...]:
        out = forward(*leaves)
        return torch.autograd.grad(out, [leaf for leaf in leaves if leaf.requires_grad], out.detach())

    return call
