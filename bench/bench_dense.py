"""Benchmark dense: forward, backward and both."""

from types import SimpleNamespace

import torch
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import network_ops, peers
from partae_fast.bench.common import Check, Contest, deviation, gradients
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BACKWARD, BOTH, FORWARD, PASSES, contest
from partae_fast.bench.timing import Work
from partae_fast.kernels.dense import Dropout, eager

# The layers of the thesis: B items, I inputs, O outputs.
SHAPES = [
    {"B": 128, "I": 1024, "O": 2000},
    {"B": 128, "I": 2000, "O": 1024},
    {"B": 128, "I": 513, "O": 2048},
    {"B": 128, "I": 2048, "O": 2048},
    {"B": 256, "I": 1024, "O": 1024},
]


@benchmark("dense", passes=PASSES, shapes=SHAPES, smoke={"B": 3, "I": 20, "O": 35})
def bench_dense(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    b, i, o = shape.values()
    x, grad = (_draw(device, 0, b, size) for size in (i, o))
    weight, bias = _draw(device, 1, i, o) / i**0.5, _draw(device, 2, o)
    layers = peers.compiled(network_ops.dense, device).items()
    forward = Work(2.0 * b * i * o, 4.0 * (b * i + i * o + b * o))
    return contest(
        "dense",
        op_pass,
        device,
        {"x": x, "weight": weight, "bias": bias},
        {name: lambda t, name=name: (pf.dense(t.x, t.weight, t.bias, "mrelu", backend=name),) for name in backends},
        {name: lambda t, f=f: (f(t.x, t.weight, t.bias, "mrelu"),) for name, f in layers},
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


def _draw(device: str, seed: int, *size: int) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed)).to(device)
