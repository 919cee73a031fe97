"""Benchmark upsample_conv2d on the layers of Grais & Plumbley 2017 (table 1) that upsample.

The passes are forward, backward and both.
"""

from types import SimpleNamespace

import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf
from partae_fast.bench import maps
from partae_fast.bench.common import ByChoice, Check, Contest, deviation, gradients
from partae_fast.bench.declaration import benchmark
from partae_fast.bench.passes import BACKWARD, BOTH, FORWARD, PASSES
from partae_fast.bench.timing import Work
from partae_fast.kernels.upsample_conv2d import eager

# Batches of 100 segments of 15 frames. C, D: channels and filters; p, q: copies of each frame and of each bin.
SHAPES = [
    {"B": 100, "N": 5, "H": 41, "C": 30, "D": 20, "p": 1, "q": 5},
    {"B": 100, "N": 5, "H": 205, "C": 20, "D": 12, "p": 3, "q": 5},
]
QUICK = {"B": 8, "N": 5, "H": 41, "C": 30, "D": 20, "p": 1, "q": 5}
SMOKE = {"B": 2, "N": 3, "H": 10, "C": 2, "D": 3, "p": 1, "q": 5}


@benchmark("upsample_conv2d", passes=PASSES, shapes=SHAPES, smoke=SMOKE, quick=QUICK, peers=maps.peer_names)
def bench_upsample_conv2d(op_pass: str, shape: dict[str, int], device: str, backends: list[str]) -> Contest:
    p, q = shape["p"], shape["q"]
    data = maps.inputs(shape, device)

    def peer(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor]:
        return (F.conv2d(F.interpolate(x, scale_factor=(p, q)), weight, bias, padding=1).relu(),)

    return maps.contest(
        "upsample_conv2d",
        op_pass,
        device,
        data,
        {name: lambda x, w, b, name=name: (pf.upsample_conv2d(x, w, b, (p, q), name),) for name in backends},
        peer,
        work(shape),
        lambda copies: _check(copies, (p, q)),
    )


def work(shape: dict[str, int]) -> dict[str, Work]:
    """Return the minimum work of each pass.

    Each number meets nine taps; along an axis that is not upsampled, taps outside the map are not counted. There is one
    product forward and one for each of two gradients. The backward pass also reads the gradient of the map and writes
    that of x.
    """
    b, n, h, c, d, p, q = shape.values()
    products, read, written = 2.0 * b * _taps(n, p) * _taps(h, q) * c * d, b * n * h * c, b * n * h * p * q * d
    forward = Work(products, 4.0 * (read + written))
    return {
        FORWARD: forward,
        BACKWARD: Work(2 * products, forward.bytes),
        BOTH: Work(3 * products, 2 * forward.bytes),
    }


def _taps(length: int, copies: int) -> int:
    """Return the number of (number, tap) pairs along an axis with three taps; copies count once."""
    return 3 * length if copies > 1 else 3 * length - 2


def _check(t: SimpleNamespace, scale: tuple[int, int]) -> Check:
    """Return a check of the map, and of the gradients where the version's own output is above 0."""
    truth = eager.upsample_conv2d(t.x, t.weight, t.bias, scale, True)
    channels = t.x.shape[3]

    def true_gradients(active: Tensor) -> tuple[Tensor | None, ...]:
        return eager.upsample_conv2d_backward(
            t.grad, t.x, t.weight, active.double(), scale, True, channels > 1, True, True
        )

    gradients_for = ByChoice(true_gradients)

    def check(outputs):
        yield deviation("the map", outputs[0], truth, 9 * channels)
        if len(outputs) > 1:
            names = ("x", "weight", "bias")
            yield from gradients(names, outputs[1:], gradients_for(outputs[0] > 0), truth[..., 0].numel())

    return check
