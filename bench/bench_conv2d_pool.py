"""Benchmark conv2d_pool on the layers of Grais & Plumbley 2017 (table 1) that do not upsample.

The passes are forward, backward and both.
"""

import math
from collections.abc import Sequence
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import maps
from partae_fast.bench.common import (
    ByChoice,
    Check,
    Contest,
    Wrong,
    check_positions,
    deviation,
    gradients,
    misplacement,
)
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BACKWARD, BOTH, FORWARD, PASSES
from partae_fast.bench.timing import Work
from partae_fast.kernels.conv2d_pool import eager

# Batches of 100 segments of 15 frames. C, D: channels and filters; p, q: frames and bins of a pool window.
SHAPES = [
    {"B": 100, "N": 15, "H": 1025, "C": 1, "D": 12, "p": 3, "q": 5},
    {"B": 100, "N": 5, "H": 205, "C": 12, "D": 20, "p": 1, "q": 5},
    {"B": 100, "N": 5, "H": 41, "C": 20, "D": 30, "p": 1, "q": 1},
    {"B": 100, "N": 5, "H": 41, "C": 30, "D": 40, "p": 1, "q": 1},
    {"B": 100, "N": 5, "H": 41, "C": 40, "D": 30, "p": 1, "q": 1},
    {"B": 100, "N": 15, "H": 1025, "C": 12, "D": 1, "p": 1, "q": 1},
]
QUICK = {"B": 8, "N": 15, "H": 1025, "C": 1, "D": 12, "p": 3, "q": 5}
SMOKE = {"B": 2, "N": 3, "H": 10, "C": 2, "D": 3, "p": 1, "q": 5}


@benchmark("conv2d_pool", passes=PASSES, shapes=SHAPES, smoke=SMOKE, quick=QUICK, peers=maps.peer_names)
def bench_conv2d_pool(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    p, q = shape["p"], shape["q"]
    data = maps.inputs(shape, device)
    values, positions = pf.conv2d_pool(*data.values(), (p, q))

    def peer(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        z = F.conv2d(x, weight, bias, padding=1).relu()
        return (z,) if (p, q) == (1, 1) else F.max_pool2d(z, (p, q), ceil_mode=True, return_indices=True)

    def of_peer(outputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Convert PyTorch's positions, counted over the whole map, to positions within each window."""
        if (p, q) == (1, 1):
            return [outputs[0], outputs[0].new_empty(0, dtype=torch.int32), *outputs[1:]]
        in_map = outputs[1]
        in_window = in_map // shape["H"] % p * q + in_map % shape["H"] % q
        return [outputs[0], in_window.int(), *outputs[2:]]

    return maps.contest(
        "conv2d_pool",
        op_pass,
        device,
        data,
        {name: lambda x, w, b, name=name: pf.conv2d_pool(x, w, b, (p, q), backend=name) for name in backends},
        peer,
        work(shape, values, positions),
        lambda copies: _check(copies, shape),
        of_peer,
    )


def work(shape: dict[str, int], values: Tensor, positions: Tensor) -> dict[str, Work]:
    """Return the minimum work of each pass.

    The forward pass multiplies every point of the map by every filter. The backward pass needs only the points that
    positive values came from: for the gradient of the weight and, if x has several channels, that of x. Taps outside
    the map multiply zeros and need no product.
    """
    b, n, h, c, d, p, q = shape.values()
    taps = torch.outer(_taps(n), _taps(h)).to(values.device)  # (N, H)
    active = (values > 0).float()
    if (p, q) != (1, 1):
        active = eager.unpooled(active, positions, (p, q), n, h)
    forward = Work(2.0 * b * float(taps.sum()) * c * d, 4.0 * (b * n * h * c + values.numel()))
    gradients = 2 if c > 1 else 1
    backward = 2.0 * gradients * c * float((active.sum((0, 3)) * taps).sum())
    moved = 4.0 * ((gradients - 1) * b * n * h * c + values.numel())  # the gradients of x and of the values
    return {
        FORWARD: forward,
        BACKWARD: Work(backward, moved),
        BOTH: Work(forward.flop + backward, forward.bytes + moved),
    }


def _taps(length: int) -> Tensor:
    """Return how many of the three taps around each point lie inside the map, (length,)."""
    point = torch.arange(length)
    return 1.0 + (point > 0) + (point < length - 1)


def _check(t: SimpleNamespace, shape: dict[str, int]) -> Check:
    """Return a check of the values, and of the activations and gradients at a version's positions."""
    pool = p, q = shape["p"], shape["q"]
    _, n, h, channels = t.x.shape
    z = eager.convolve(eager.channels_first(t.x), t.weight, t.bias).relu()
    z = F.pad(z, (0, -h % q, 0, -n % p), value=-math.inf).permute(0, 2, 3, 1)
    batch, frames, bins, filters = z.shape
    windows = z.view(batch, frames // p, p, bins // q, q, filters).transpose(2, 3).flatten(3, 4)  # (B, V, W, p*q, D)
    best = windows.amax(3)

    def true_gradients(active: Tensor, positions: Tensor) -> tuple[Tensor | None, ...]:
        choice = active.double(), positions, pool, True
        return eager.conv2d_pool_backward(t.grad, t.x, t.weight, *choice, channels > 1, True, True)

    gradients_for = ByChoice(true_gradients)

    def check(outputs):
        values, positions, *grads = outputs
        yield deviation("values", values, best, 9 * channels)
        check_positions(positions, [0] if pool == (1, 1) else best.shape)
        if positions.numel():
            if ((positions < 0) | (positions >= p * q)).any():
                raise Wrong("positions lie outside of their windows")
            at_positions = windows.gather(3, positions.long()[:, :, :, None])[:, :, :, 0]
            yield misplacement(at_positions, best, 9 * channels)
        if grads:
            truths = gradients_for(values > 0, positions)
            yield from gradients(("x", "weight", "bias"), grads, truths, batch * n * h)

    return check
