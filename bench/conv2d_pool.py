"""conv2d_pool: forward; forward and backward. The layers of Grais & Plumbley 2017 (table 1) that do not up-sample."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf

from . import maps
from .common import GATE_BEHIND_ARGMAX, Contest
from .timing import Work

# Batches of 100 segments of 15 frames. C, D: channels and filters; p, q: frames and bins in a pool window.
SHAPES = [
    {"B": 100, "N": 15, "H": 1025, "C": 1, "D": 12, "p": 3, "q": 5},
    {"B": 100, "N": 5, "H": 205, "C": 12, "D": 20, "p": 1, "q": 5},
    {"B": 100, "N": 5, "H": 41, "C": 20, "D": 30, "p": 1, "q": 1},
    {"B": 100, "N": 5, "H": 41, "C": 30, "D": 40, "p": 1, "q": 1},
    {"B": 100, "N": 5, "H": 41, "C": 40, "D": 30, "p": 1, "q": 1},
    {"B": 100, "N": 15, "H": 1025, "C": 12, "D": 1, "p": 1, "q": 1},
]


def shapes(device: str) -> list[dict[str, int]]:
    return SHAPES


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    b, n, h, c, d, p, q = shape.values()
    pool = p, q

    def peer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        z = F.conv2d(x, weight, bias, padding=1).relu()
        return z if pool == (1, 1) else F.max_pool2d(z, pool, ceil_mode=True)

    return maps.contests(
        "conv2d_pool",
        shape,
        device,
        {name: lambda x, w, b, name=name: pf.conv2d_pool(x, w, b, pool, backend=name)[0] for name in backends},
        peer,
        _work(b * n * h, b * -(-n // p) * -(-h // q), c, d),
        candidate and (lambda x, weight, bias: candidate(x, weight, bias, pool, True)[0]),
        GATE_BEHIND_ARGMAX,
    )


def _work(places: int, windows: int, channels: int, filters: int) -> tuple[Work, Work]:
    """Forward every place under every filter; backward one place in a window, for the weight and, if wanted, x."""
    reads = 9.0 * channels * filters
    forward = Work(2 * places * reads, 4.0 * (places * channels + windows * filters))
    gradients = 2 if channels > 1 else 1
    moved = gradients * places * channels + windows * filters
    return forward, Work(forward.flop + 2 * gradients * windows * reads, forward.bytes + 4.0 * moved)
