"""Benchmark dense, and training steps of two dense networks of Lusterman 2016.

A step is the forward pass, the loss, the backward pass and Adam, on a batch that is already in memory. The peers use
addmm, autograd and PyTorch's fused Adam, eagerly and compiled.
"""

import functools
import itertools
from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import peers
from partae_fast.bench.common import Check, Contest, deviation, gradients
from partae_fast.bench.declaration import STEP_ROUNDS, benchmark
from partae_fast.bench.passes import BACKWARD, BOTH, FORWARD, PASSES, STEP, contest
from partae_fast.bench.timing import Work
from partae_fast.kernels import OPS
from partae_fast.kernels.dense import Dropout, eager
from partae_fast.training.optimizers import Optimizer

# The layers of the thesis: B items, I inputs, O outputs.
SHAPES = [
    {"B": 128, "I": 1024, "O": 2000},
    {"B": 128, "I": 2000, "O": 1024},
    {"B": 128, "I": 513, "O": 2048},
    {"B": 128, "I": 2048, "O": 2048},
    {"B": 256, "I": 1024, "O": 1024},
]
# Whole training steps: the number of outputs of each layer.
SUPERVISED = {"B": 128, "bins": 1024, "hidden": 2000}
CURRO = {"B": 128, "bins": 1024, "encoder": 2048, "decoder": 1024}
# Largest error of a whole network's gradients. Of the 131,072 outputs of a layer, four may lie so close to the kink of
# their activation that rounding selects the other slope, which changes a gradient by sqrt(4 / 131,072).
KINKS = 5.5e-3
STEPS = 3  # number of steps whose losses must agree before a step is timed
Layer = Callable[[Tensor, Tensor, Tensor, str], Tensor]

SMOKE_STEPS = ({"B": 3, "bins": 20, "hidden": 9}, {"B": 3, "bins": 20, "encoder": 8, "decoder": 7})


def peer(x: Tensor, weight: Tensor, bias: Tensor, activation: str) -> Tensor:
    """Return the output of the layer, written in plain PyTorch."""
    z = torch.addmm(bias, x, weight)
    return torch.where(z >= 1e-5, z, -1e-5 / (z - 1 - 1e-5)) if activation == "mrelu" else z


def _ours(backend: str) -> Layer:
    return lambda x, weight, bias, activation: pf.dense(x, weight, bias, activation, backend=backend)


@benchmark("dense", passes=PASSES, shapes=SHAPES, smoke={"B": 3, "I": 20, "O": 35})
def bench_dense(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, i, o = shape.values()
    x, grad = (_draw(device, 0, b, size) for size in (i, o))
    weight, bias = _draw(device, 1, i, o) / i**0.5, _draw(device, 2, o)
    forward = Work(2.0 * b * i * o, 4.0 * (b * i + i * o + b * o))
    return contest(
        "dense",
        op_pass,
        device,
        {"x": x, "weight": weight, "bias": bias},
        {name: lambda t, name=name: (pf.dense(t.x, t.weight, t.bias, "mrelu", backend=name),) for name in backends},
        {name: lambda t, f=f: (f(t.x, t.weight, t.bias, "mrelu"),) for name, f in peers.compiled(peer, device).items()},
        grad,
        work={
            FORWARD: forward,
            BACKWARD: Work(2 * forward.flop, forward.bytes),
            BOTH: Work(3 * forward.flop, 2 * forward.bytes),  # every tensor and its gradient
        }[op_pass],
        truth=_check,
        leaves=("x", "weight", "bias"),
        by_library=True,
    )


def _check(t: SimpleNamespace) -> Check:
    """Return a check of the output and of the gradients.

    The true gradients are taken on the side of the activation's kink that the version's own output lies on.
    """
    settings = "mrelu", Dropout(0.0, 0, 0, 0)
    truth = eager.dense(t.x, t.weight, t.bias, *settings)

    def check(outputs):
        yield deviation("the output", outputs[0], truth, t.x.shape[1])
        if len(outputs) > 1:
            grads = eager.dense_backward(t.grad, outputs[0].double(), t.x, t.weight, *settings, True, True, True)
            yield from gradients(("x", "weight", "bias"), outputs[1:], grads, max(t.weight.shape))

    return check


@benchmark("dense", passes=(STEP,), shapes=[SUPERVISED], smoke=SMOKE_STEPS[0], rounds=STEP_ROUNDS)
def bench_dense_step(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    return _step_contest(shape, device, backends)


@benchmark("dense", passes=(STEP,), shapes=[CURRO], smoke=SMOKE_STEPS[1], rounds=STEP_ROUNDS, name="Curro")
def bench_curro_step(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    return _step_contest(shape, device, backends)


class _Training:
    """A training run of a network; `rewind` restarts it from the initial weights.

    `start` returns the initial parameters and a function that takes one step and returns its loss.
    """

    def __init__(self, start: Callable[[], tuple[list[Tensor], Callable[[], Tensor]]]) -> None:
        self.start = start
        self.rewind()

    def __call__(self) -> Tensor:
        return self.step()

    def rewind(self) -> None:
        self.parameters, self.step = self.start()

    def results(self) -> tuple[Tensor, ...]:
        """Return the losses of the first STEPS steps and the gradients of the first step."""
        self.rewind()
        first = self()
        grads = [parameter.grad.clone() for parameter in self.parameters if parameter.grad is not None]
        return torch.stack([first, *(self() for _ in range(STEPS - 1))]), *grads


def _step_contest(shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, bins = shape["B"], shape["bins"]
    curro = "encoder" in shape
    if curro:
        sizes = [bins, *[shape["encoder"]] * 3]
        pairs = [*itertools.pairwise(sizes), (sizes[-1] // 2, shape["decoder"]), (shape["decoder"], bins)]
    else:
        pairs = [(bins, shape["hidden"]), (shape["hidden"], bins)]
    initial = [_draw(device, n, i, o) / i**0.5 for n, (i, o) in enumerate(pairs)]
    x, target = (_draw(device, seed, b, bins).abs() for seed in (100, 101))
    noise_only = (torch.arange(b, device=device) < b // 2).float()

    def loss_of(
        layer: Layer,
        parameters: list[Tensor],
        x: Tensor = x,
        target: Tensor = target,
        noise_only: Tensor = noise_only,
        curro_backend: str | None = None,
    ) -> Tensor:
        y = x
        for n in range(len(pairs)):
            if curro and n == len(pairs) - 2:  # one decoder processes both halves of the latents
                y = y.view(b, 2, -1).transpose(0, 1).reshape(2 * b, -1)
            activation = "identity" if n == len(pairs) - 1 else "mrelu"
            y = layer(y, parameters[2 * n], parameters[2 * n + 1], activation)
        if not curro:
            return (y - target).square().sum() / b
        if curro_backend:
            return pf.curro_loss(y[:b], y[b:], target, noise_only, backend=curro_backend)
        return ((1 - noise_only)[:, None] * y[:b] + y[b:] - target).square().sum() / b

    def leaves(dtype: torch.dtype = torch.float32) -> list[Tensor]:
        weights_and_biases = [t for w in initial for t in (w, w.new_zeros(w.shape[1]))]
        return [t.to(dtype, copy=True).requires_grad_() for t in weights_and_biases]

    def ours(backend: str) -> tuple[list[Tensor], Callable[[], Tensor]]:
        parameters = leaves()
        optimizer, steps = Optimizer("adam", {str(n): p for n, p in enumerate(parameters)}, {}), iter(range(2**62))
        # A candidate is registered for dense only.
        curro_backend = backend if backend in OPS["curro_loss"].backends else "auto"

        def step() -> Tensor:
            for parameter in parameters:
                parameter.grad = None
            loss = loss_of(_ours(backend), parameters, curro_backend=curro_backend)
            loss.backward()
            optimizer.step(next(steps))
            return loss.detach()

        return parameters, step

    def peer_steps(
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
        float64_loss = functools.partial(loss_of, peer, x=t.x, target=t.target, noise_only=t.noise_only)
        losses, *grads = _Training(lambda: peer_steps(float64_loss, torch.float64)).results()

        def check(outputs):
            yield deviation("the losses", outputs[0], losses, b * bins)
            for n, (result, truth) in enumerate(zip(outputs[1:], grads, strict=True)):
                yield deviation(f"gradient of parameter {n}", result, truth, bins, KINKS)

        return check

    weights, products = sum(i * o for i, o in pairs), 0
    for n, (i, o) in enumerate(pairs):
        items = 2 * b if curro and n >= len(pairs) - 2 else b
        products += (3 if n else 2) * items * i * o  # the input needs no gradient
    return Contest(
        "Curro" if curro else "dense",
        STEP,
        {"x": x, "target": target, "noise_only": noise_only},
        ours={name: _Training(lambda name=name: ours(name)) for name in backends},
        peers={
            name: _Training(lambda f=f: peer_steps(f, fused=True))
            for name, f in peers.compiled(lambda parameters: loss_of(peer, parameters), device).items()
        },
        work=Work(2.0 * products, 4.0 * 3 * weights),  # the weights and Adam's two moments
        truth=check_of,
        by_library=True,
        cold=False,
    )


def _draw(device: str, seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(device)
