"""dense: forward, forward and backward, and whole training steps of two networks of Lusterman 2016 made of it.

A step is the forward pass, the loss, the backward pass and Adam, on a batch that is there. The peers are the same
written with addmm and differentiated by autograd, eagerly and compiled, with PyTorch's fused Adam.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.kernels.dense import Dropout
from partae_fast.training.optimisers import Optimiser

from . import peers
from .common import Contest, relative
from .timing import Work

# B items, I inputs, O outputs: the thesis's layers; and whole steps, by the outputs of each layer.
SHAPES = [
    {"B": 128, "I": 1024, "O": 2000},
    {"B": 128, "I": 2000, "O": 1024},
    {"B": 128, "I": 513, "O": 2048},
    {"B": 128, "I": 2048, "O": 2048},
    {"B": 256, "I": 1024, "O": 1024},
]
SUPERVISED = {"B": 128, "bins": 1024, "hidden": 2000}
CURRO = {"B": 128, "bins": 1024, "encoder": 2048, "decoder": 1024}
STEPS = 3  # whose losses must agree before a step is timed
Layer = Callable[[Tensor, Tensor, Tensor, str], Tensor]


def shapes(device: str) -> list[dict[str, int]]:
    return [*SHAPES, SUPERVISED, CURRO]


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    if "O" in shape:
        return _of_the_op(shape, device, backends, candidate)
    return [_of_a_step(shape, device, backends)]


def peer(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """The layer as one would write it."""
    z = torch.addmm(bias, x, weight)
    return torch.where(z >= 1e-5, z, -1e-5 / (z - 1 - 1e-5)) if activation == "mrelu" else z


def _ours(backend: str) -> Layer:
    return lambda x, weight, bias, activation: pf.dense(x, weight, bias, activation, backend=backend)


def _of_the_op(shape: dict[str, int], device: str, backends: list[str], candidate: Any) -> list[Contest]:
    b, i, o = shape.values()
    x, grad = (_draw(device, 0, b, size) for size in (i, o))
    weight, bias = _draw(device, 1, i, o) / i**0.5, _draw(device, 2, o)
    theirs = peers.compiled(peer, device)
    forward = Work(2.0 * b * i * o, 4.0 * (b * i + i * o + b * o))

    def with_gradients(layer: Layer) -> Callable[[], tuple[Tensor, ...]]:
        leaves = x.clone().requires_grad_(), weight.clone().requires_grad_(), bias.clone().requires_grad_()
        return lambda: torch.autograd.grad(layer(*leaves, "mrelu"), leaves, grad)

    return [
        Contest(
            "dense",
            ours={name: lambda name=name: _ours(name)(x, weight, bias, "mrelu") for name in backends},
            candidate=candidate and (lambda: candidate(x, weight, bias, "mrelu", Dropout(0.0, 0, 0, 0))),
            peers={name: lambda f=f: f(x, weight, bias, "mrelu") for name, f in theirs.items()},
            work=forward,
            difference=relative,
        ),
        Contest(
            "dense forward+backward",
            ours={name: with_gradients(_ours(name)) for name in backends},
            peers={name: with_gradients(f) for name, f in theirs.items()},
            work=Work(3 * forward.flop, 3 * forward.bytes),
            difference=relative,
        ),
    ]


class _Training:
    """Steps of a network, which can be set back to where it began."""

    def __init__(self, begin: Callable[[], Callable[[], Tensor]]) -> None:
        self.begin, self.step = begin, begin()

    def __call__(self) -> Tensor:
        return self.step()

    def rewind(self) -> None:
        self.step = self.begin()

    def losses(self) -> Tensor:
        """Of the first steps."""
        self.rewind()
        return torch.stack([self() for _ in range(STEPS)])


def _of_a_step(shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, bins = shape["B"], shape["bins"]
    curro = "encoder" in shape
    if curro:
        sizes = [bins, *[shape["encoder"]] * 3]
        pairs = [*itertools.pairwise(sizes), (sizes[-1] // 2, shape["decoder"]), (shape["decoder"], bins)]
    else:
        pairs = [(bins, shape["hidden"]), (shape["hidden"], bins)]
    first = [_draw(device, n, i, o) / i**0.5 for n, (i, o) in enumerate(pairs)]
    x, target = (_draw(device, seed, b, bins).abs() for seed in (100, 101))
    noise_only = (torch.arange(b, device=device) < b // 2).float()

    def loss_of(layer: Layer, parameters: list[Tensor], fused: str | None = None) -> Tensor:
        y = x
        for n in range(len(pairs)):
            if curro and n == len(pairs) - 2:  # both halves of the latents through one decoder
                y = y.view(b, 2, -1).transpose(0, 1).reshape(2 * b, -1)
            activation = "identity" if n == len(pairs) - 1 else "mrelu"
            y = layer(y, parameters[2 * n], parameters[2 * n + 1], activation)
        if not curro:
            return (y - target).square().sum() / b
        if fused:
            return pf.curro_loss(y[:b], y[b:], target, noise_only, backend=fused)
        return ((1 - noise_only)[:, None] * y[:b] + y[b:] - target).square().sum() / b

    def leaves() -> list[Tensor]:
        return [t.clone().requires_grad_() for w in first for t in (w, w.new_zeros(w.shape[1]))]

    def ours(backend: str) -> Callable[[], Tensor]:
        parameters = leaves()
        optimiser, steps = Optimiser("adam", {str(n): p for n, p in enumerate(parameters)}, {}), iter(range(2**62))

        def step() -> Tensor:
            loss = loss_of(_ours(backend), parameters, backend)
            loss.backward()
            optimiser.step(next(steps))
            for parameter in parameters:
                parameter.grad = None
            return loss.detach()

        return step

    def theirs(function: Callable[[list[Tensor]], Tensor]) -> Callable[[], Tensor]:
        parameters = leaves()
        optimiser = torch.optim.Adam(parameters, fused=True)

        def step() -> Tensor:
            loss = function(parameters)
            loss.backward()
            optimiser.step()
            optimiser.zero_grad()
            return loss.detach()

        return step

    weights, products = sum(i * o for i, o in pairs), 0
    for n, (i, o) in enumerate(pairs):
        items = 2 * b if curro and n >= len(pairs) - 2 else b
        products += (3 if n else 2) * items * i * o  # the input needs no gradient
    return Contest(
        "Curro step" if curro else "dense step",
        ours={name: _Training(lambda name=name: ours(name)) for name in backends},
        peers={
            name: _Training(lambda f=f: theirs(f))
            for name, f in peers.compiled(lambda parameters: loss_of(peer, parameters), device).items()
        },
        work=Work(2.0 * products, 4.0 * 9 * weights),  # twice read as they are, a gradient, Adam's 3 read and written
        difference=relative,
        prepare=_Training.losses,
    )


def _draw(device: str, seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(device)
