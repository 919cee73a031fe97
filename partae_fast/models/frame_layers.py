"""The layers of models of single frames: dense ones, and batch normalisation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from ..kernels.dense import EPSILON, SLOPE
from .initialisation import glorot

ACTIVATIONS = {
    "identity": lambda z: z,
    "relu": F.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, SLOPE),
    "mrelu": lambda z: torch.where(z >= EPSILON, z, -EPSILON / (z.clamp(max=EPSILON) - 1 - EPSILON)),
}
STATISTICS = ("running", "batch")
_MOMENTUM, _SMALLEST = 0.1, 1e-4  # of a step in the running statistics; added to a variance


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015): (x - mean) / sqrt(variance + 1e-4) * gain + offset, for each column.

    In training mean and variance are the batch's own, and a tenth of the way goes into the running ones. Afterwards
    they are the running ones, or the batch's own (`statistics`), of two frames or more: then what becomes of a frame
    depends on the frames that happen to be denoised with it.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, statistics: str) -> None:
        super().__init__()
        self.statistics = statistics
        self.gain, self.offset = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, x: Tensor, training: bool) -> Tensor:
        """x (B, width), likewise."""
        if training:
            return F.batch_norm(x, self.mean, self.variance, self.gain, self.offset, True, _MOMENTUM, _SMALLEST)
        if self.statistics == "batch" and len(x) > 1:
            return F.batch_norm(x, None, None, self.gain, self.offset, True, eps=_SMALLEST)
        return F.batch_norm(x, self.mean, self.variance, self.gain, self.offset, eps=_SMALLEST)


class DenseLayer(nn.Module):
    """activation(x @ weight + bias); with `statistics`, batch normalisation before the activation, and no bias.

    `seed` and `number` decide the weights before the first step (Glorot & Bengio 2010).
    """

    def __init__(
        self, inputs: int, outputs: int, activation: str, seed: int, number: int, statistics: str | None = None
    ) -> None:
        super().__init__()
        self.activation = activation
        self.weight = nn.Parameter(glorot((inputs, outputs), seed, number))
        self.bias = None if statistics else nn.Parameter(torch.zeros(outputs))
        self.normalise = BatchNorm(outputs, statistics) if statistics else None

    def forward(self, x: Tensor, training: bool, backend: str) -> Tensor:
        """x (B, inputs) -> (B, outputs)."""
        if self.normalise is None:
            return functional.dense(x, self.weight, self.bias, self.activation, backend=backend)
        z = functional.dense(x, self.weight, None, "identity", backend=backend)
        return ACTIVATIONS[self.activation](self.normalise(z, training))


def check_widths(**widths: int) -> None:
    """Raise UserError for a layer that cannot be."""
    for name, width in widths.items():
        if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 2**16:
            raise UserError(f"{name} is {width!r}; it must be a whole number, from 1 to 65536")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError where `value` is none of the choices."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_number(name: str, value: float, least: float = -math.inf, largest: float = math.inf) -> None:
    """Raise UserError for a number that is not finite, or out of range."""
    if isinstance(value, str) or not (math.isfinite(value) and least <= value <= largest):
        ends = [
            f"at least {least:g}" if least > -math.inf else "",
            f"at most {largest:g}" if largest < math.inf else "",
        ]
        raise UserError(f"{name} is {value!r}; it must be {' and '.join(e for e in ends if e) or 'a finite number'}")
