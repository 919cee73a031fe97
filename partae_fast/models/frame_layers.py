"""The layers of networks that denoise frame by frame: dense layers and batch normalisation."""

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
_MOMENTUM, _EPSILON = 0.1, 1e-4  # weight of a batch in the running statistics; added to the variance


class BatchNorm(nn.Module):
    """Batch normalisation (Ioffe & Szegedy 2015): (x - mean) / sqrt(variance + 1e-4) * gain + offset, by column.

    Training uses mean and variance of the batch, and updates the running statistics with weight 0.1. Inference uses the
    running statistics (statistics="running"), or those of the batch if it has two frames or more ("batch"). With
    "batch", the estimate of a frame depends on the other frames in the batch.
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
        """Normalise x (B, width)."""
        if training:
            return F.batch_norm(x, self.mean, self.variance, self.gain, self.offset, True, _MOMENTUM, _EPSILON)
        if self.statistics == "batch" and len(x) > 1:
            return F.batch_norm(x, None, None, self.gain, self.offset, True, eps=_EPSILON)
        return F.batch_norm(x, self.mean, self.variance, self.gain, self.offset, eps=_EPSILON)


class DenseLayer(nn.Module):
    """activation(x @ weight + bias), or batch normalisation in place of the bias.

    Args:
        inputs, outputs: of the layer.
        activation: one of `ACTIVATIONS`.
        seed, number: of the initial weights (Glorot & Bengio 2010).
        statistics: of batch normalisation, see `BatchNorm`; None for a bias.
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
        """Return the outputs (B, outputs) of x (B, inputs)."""
        if self.normalise is None:
            return functional.dense(x, self.weight, self.bias, self.activation, backend=backend)
        z = x @ self.weight  # the op would add nothing but calls
        return ACTIVATIONS[self.activation](self.normalise(z, training))


def check_widths(**widths: int) -> None:
    """Raise UserError if a width is not a whole number from 1 to 65536."""
    for name, width in widths.items():
        if isinstance(width, bool) or not isinstance(width, int) or not 1 <= width <= 2**16:
            raise UserError(f"{name} is {width!r}; it must be a whole number, from 1 to 65536")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise UserError if `value` is not one of the choices."""
    if value not in choices:
        raise UserError(f"{name} is {value!r}; choose one of {', '.join(choices)}")


def check_number(name: str, value: float, minimum: float = -math.inf, maximum: float = math.inf) -> None:
    """Raise UserError if `value` is not a finite number within the range."""
    if isinstance(value, str) or not (math.isfinite(value) and minimum <= value <= maximum):
        limits = [
            f"at least {minimum:g}" if minimum > -math.inf else "",
            f"at most {maximum:g}" if maximum < math.inf else "",
        ]
        accepted = " and ".join(limit for limit in limits if limit) or "a finite number"
        raise UserError(f"{name} is {value!r}; it must be {accepted}")
