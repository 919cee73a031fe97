"""upsample_conv2d: forward; forward and backward. The layers of Grais & Plumbley 2017 (table 1) that up-sample."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

import partae_fast as pf

from . import maps
from .common import Contest
from .timing import Work

# Batches of 100 segments of 15 frames. C, D: channels and filters; p, q: copies of a frame and of a bin.
SHAPES = [
    {"B": 100, "N": 5, "H": 41, "C": 30, "D": 20, "p": 1, "q": 5},
    {"B": 100, "N": 5, "H": 205, "C": 20, "D": 12, "p": 3, "q": 5},
]


def shapes(device: str) -> list[dict[str, int]]:
    return SHAPES


def contests(shape: dict[str, int], device: str, backends: list[str], candidate: Any = None) -> list[Contest]:
    b, n, h, c, d, p, q = shape.values()
    scale = p, q

    def peer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(x, scale_factor=scale), weight, bias, padding=1).relu()

    # Each number under nine taps, once forward and once for either gradient. Backward also reads the map's gradient.
    products, read, written = 18.0 * b * n * h * c * d, b * n * h * c, b * n * h * p * q * d
    forward = Work(products, 4.0 * (read + written))
    return maps.contests(
        "upsample_conv2d",
        shape,
        device,
        {name: lambda x, w, b, name=name: pf.upsample_conv2d(x, w, b, scale, backend=name) for name in backends},
        peer,
        (forward, Work(3 * products, forward.bytes + 4.0 * (2 * read + 2 * written))),
        candidate and (lambda x, weight, bias: candidate(x, weight, bias, scale, True)),
    )
