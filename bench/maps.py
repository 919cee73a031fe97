"""Contests of convolutions of maps: ours, and the peers in both orders of storage, channels last and channels first."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from . import peers
from .common import Check, Contest
from .timing import Work

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


def contests(
    op: str,
    device: str,
    data: dict[str, Tensor],
    ours: dict[str, Layer],
    peer: Layer,
    work: tuple[Work, Work],
    truth: Callable[[SimpleNamespace], Check],
    of_peer: Callable[[Sequence[Tensor]], Sequence[Tensor]] = lambda outputs: outputs,
) -> list[Contest]:
    """Forward, and forward with the gradients; that of x only where it has channels: a spectrogram is data.

    `ours` take and return what the op does, its values first. `peer` is told (B, C, N, H) and (D, C, 3, 3), as PyTorch
    has it, in either order of storage. `work` is that of either contest. What comes down to the values is random.
    """
    x, weight, bias = data.values()
    first = x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # the same numbers, otherwise stored
    grad = torch.rand(next(iter(ours.values()))(x, weight, bias)[0].shape, generator=torch.Generator().manual_seed(1))
    grad = grad.to(device)
    versions = {}
    for name, f in peers.compiled(_in_pytorchs_order(peer), device).items():
        versions |= {name: (f, "x"), f"{name}, channels first": (f, "first")}
    plain = {"x": x, "first": first}
    wanted = {name: m.detach().clone().requires_grad_(x.shape[3] > 1) for name, m in plain.items()}
    parameters = weight.clone().requires_grad_(), bias.clone().requires_grad_()
    return [
        Contest(
            op,
            {"x": x, "first": first, "weight": weight, "bias": bias},
            ours={name: lambda f=f: f(x, weight, bias) for name, f in ours.items()},
            peers={name: lambda f=f, m=m: f(plain[m], weight, bias) for name, (f, m) in versions.items()},
            work=work[0],
            truth=truth,
            scaled=("x", "first"),
            backward=False,
            of_peer=of_peer,
        ),
        Contest(
            f"{op} forward+backward",
            {**wanted, "weight": parameters[0], "bias": parameters[1], "grad": grad},
            ours={name: _with_gradients(f, wanted["x"], *parameters, grad) for name, f in ours.items()},
            peers={name: _with_gradients(f, wanted[m], *parameters, grad) for name, (f, m) in versions.items()},
            work=work[1],
            truth=truth,
            scaled=("x", "first"),
            of_peer=of_peer,
        ),
    ]


def _in_pytorchs_order(peer: Layer) -> Layer:
    def call(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        outputs = peer(x.permute(0, 3, 1, 2), weight.permute(3, 2, 0, 1), bias)
        return tuple(out.permute(0, 2, 3, 1) for out in outputs)

    return call


def _with_gradients(forward: Layer, x: Tensor, weight: Tensor, bias: Tensor, grad: Tensor) -> Callable[[], Any]:
    leaves = [leaf for leaf in (x, weight, bias) if leaf.requires_grad]

    def call() -> tuple[Tensor, ...]:
        values, *rest = forward(x, weight, bias)
        return values, *rest, *torch.autograd.grad(values, leaves, grad)

    return call
