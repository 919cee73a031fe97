"""dense: forward, forward and backward, and whole training steps of two networks of Lusterman 2016 made of it.

A step is the forward pass, the loss, the backward pass and Adam, on a batch that is there. The peers are the same
written with addmm and differentiated by autograd, eagerly and compiled, with PyTorch's fused Adam.
"""

import functools
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.kernels import OPS
from partae_fast.kernels.dense import Dropout, eager
from partae_fast.training.optimizers import Optimizer

from . import peers
from .common import Check, Contest, deviation, gradients
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
# What a whole network's gradients may be off by: of the 131,072 outputs of a layer four may lie so near to the kink of
# their activation that rounding turns their slope, which moves a gradient by sqrt(4 / 131,072).
KINKS = 5.5e-3
STEPS = 3  # whose losses must agree before a step is timed
Layer = Callable[[Tensor, Tensor, Tensor, str], Tensor]


def shapes(device: str) -> list[dict[str, int]]:
    return [*SHAPES, SUPERVISED, CURRO]


def contests(shape: dict[str, int], device: str, backends: list[str]) -> list[Contest]:
    return [_of_a_step(shape, device, backends)] if "bins" in shape else _of_the_op(shape, device, backends)


def peer(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """The layer as one would write it."""
    z = torch.addmm(bias, x, weight)
    return torch.where(z >= 1e-5, z, -1e-5 / (z - 1 - 1e-5)) if activation == "mrelu" else z


def _ours(backend: str) -> Layer:
    return lambda x, weight, bias, activation: pf.dense(x, weight, bias, activation, backend=backend)


def _of_the_op(shape: dict[str, int], device: str, backends: list[str]) -> list[Contest]:
    b, i, o = shape.values()
    x, grad = (_draw(device, 0, b, size) for size in (i, o))
    weight, bias = _draw(device, 1, i, o) / i**0.5, _draw(device, 2, o)
    theirs = peers.compiled(peer, device)
    forward = Work(2.0 * b * i * o, 4.0 * (b * i + i * o + b * o))
    data = {"x": x, "weight": weight, "bias": bias}
    wanted = {name: t.clone().requires_grad_() for name, t in data.items()}
    leaves = list(wanted.values())

    def with_gradients(layer: Layer) -> Callable[[], tuple[Tensor, ...]]:
        def call() -> tuple[Tensor, ...]:
            out = layer(*leaves, "mrelu")
            return out, *torch.autograd.grad(out, leaves, grad)

        return call

    return [
        Contest(
            "dense",
            data,
            ours={name: lambda name=name: (_ours(name)(x, weight, bias, "mrelu"),) for name in backends},
            peers={name: lambda f=f: (f(x, weight, bias, "mrelu"),) for name, f in theirs.items()},
            work=forward,
            truth=_check,
            backward=False,
            by_library=True,
        ),
        Contest(
            "dense forward+backward",
            {**wanted, "grad": grad},
            ours={name: with_gradients(_ours(name)) for name in backends},
            peers={name: with_gradients(f) for name, f in theirs.items()},
            work=Work(3 * forward.flop, 2 * forward.bytes),  # each tensor, and its gradient
            truth=_check,
            by_library=True,
        ),
    ]


def _check(t: SimpleNamespace) -> Check:
    """The output, and the gradients on the side of the activation's kink where a version's output is."""
    fixed = "mrelu", Dropout(0.0, 0, 0, 0)
    truth = eager.dense(t.x, t.weight, t.bias, *fixed)

    def check(outputs):
        yield deviation("the output", outputs[0], truth, t.x.shape[1])
        if len(outputs) > 1:
            grads = eager.dense_backward(t.grad, outputs[0].double(), t.x, t.weight, *fixed, True, True, True)
            yield from gradients(("x", "weight", "bias"), outputs[1:], grads, max(t.weight.shape))

    return check


class _Training:
    """Steps of a network, which can be set back to where it began."""

    def __init__(self, begin: Callable[[], tuple[list[Tensor], Callable[[], Tensor]]]) -> None:
        self.begin = begin
        self.rewind()

    def __call__(self) -> Tensor:
        return self.step()

    def rewind(self) -> None:
        self.parameters, self.step = self.begin()

    def results(self) -> tuple[Tensor, ...]:
        """The losses of the first steps, and the gradients of the very first."""
        self.rewind()
        first = self()
        grads = [parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None]
        return torch.stack([first, *(self() for _ in range(STEPS - 1))]), *grads


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

    def loss_of(
        layer: Layer,
        parameters: list[Tensor],
        x: Tensor = x,
        target: Tensor = target,
        noise_only: Tensor = noise_only,
        fused: str | None = None,
    ) -> Tensor:
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

    def leaves(dtype: torch.dtype = torch.float32) -> list[Tensor]:
        numbers = [t for w in first for t in (w, w.new_zeros(w.shape[1]))]
        return [t.to(dtype, copy=True).requires_grad_() for t in numbers]

    def ours(backend: str) -> tuple[list[Tensor], Callable[[], Tensor]]:
        parameters = leaves()
        optimizer, steps = Optimizer("adam", {str(n): p for n, p in enumerate(parameters)}, {}), iter(range(2**62))
        fused = backend if backend in OPS["curro_loss"].backends else "auto"  # a candidate is one of dense alone

        def step() -> Tensor:
            for parameter in parameters:
                parameter.grad = None
            loss = loss_of(_ours(backend), parameters, fused=fused)
            loss.backward()
            optimizer.step(next(steps))
            return loss.detach()

        return parameters, step

    def theirs(
        function: Callable[..., Tensor], dtype: torch.dtype = torch.float32, **options: bool
    ) -> tuple[list[Tensor], Callable[[], Tensor]]:
        parameters = leaves(dtype)
        optimizer = torch.optim.Adam(parameters, **options)

        def step() -> Tensor:
            optimizer.zero_grad()
            loss = function(parameters)
            loss.backward()
            optimizer.step()
            return loss.detach()

        return parameters, step

    def check_of(t: SimpleNamespace) -> Check:
        wide = functools.partial(loss_of, peer, x=t.x, target=t.target, noise_only=t.noise_only)
        losses, *grads = _Training(lambda: theirs(wide, torch.float64)).results()

        def check(outputs):
            yield deviation("the losses", outputs[0], losses, b * bins)
            for n, (found, truth) in enumerate(zip(outputs[1:], grads, strict=True)):
                yield deviation(f"gradient of parameter {n}", found, truth, bins, KINKS)

        return check

    weights, products = sum(i * o for i, o in pairs), 0
    for n, (i, o) in enumerate(pairs):
        items = 2 * b if curro and n >= len(pairs) - 2 else b
        products += (3 if n else 2) * items * i * o  # the input needs no gradient
    return Contest(
        "Curro step" if curro else "dense step",
        {"x": x, "target": target, "noise_only": noise_only},
        ours={name: _Training(lambda name=name: ours(name)) for name in backends},
        peers={
            name: _Training(lambda f=f: theirs(f, fused=True))
            for name, f in peers.compiled(lambda parameters: loss_of(peer, parameters), device).items()
        },
        work=Work(2.0 * products, 4.0 * 3 * weights),  # the weights and Adam's two moments
        truth=check_of,
        by_library=True,
        results=lambda training: training.results(),
    )


def _draw(device: str, seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(device)
