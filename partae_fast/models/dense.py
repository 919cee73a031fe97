"""The supervised dense autoencoders of Lusterman 2016: one with a wide hidden layer, and a deep one."""

from __future__ import annotations

import itertools
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from ..audio.frame_input import FrameInput
from ..errors import UserError
from .frame_autoencoder import FrameAutoencoder
from .frame_layers import (
    ACTIVATIONS,
    STATISTICS,
    BatchNorm,
    DenseLayer,
    check_choice,
    check_number,
    check_widths,
)
from .penalties import weight_penalty

DEEP = "400-330-300-270-300-330-400"  # hidden layers of the deep network in the thesis's program
BATCH_NORM = ("none", "input", "hidden", "input-hidden", "every")


class DenseAutoencoder(FrameAutoencoder):
    """Dense layers from a noisy frame to the clean frame, trained on pairs of both.

    In the thesis's text there is one hidden layer of 2000 units with mReLU (Liu et al. 2014), batch normalisation at
    the input or none, and no rectifier at the output. The thesis's program also normalises the hidden layer
    (batch_norm="input-hidden", or "hidden" in place of "none") and denoises with the statistics of the frames of each
    recording (statistics="batch"). Its deep network has layers=DEEP, activation="leaky_relu", batch_norm="every",
    l2=1e-5 and l1=1e-6.

    The loss is the mean squared error over items and outputs, plus 2 * (l2 * sum w^2 + l1 * sum |w|) over the weight
    matrices.

    Args:
        input, n_fft, spectrum, context: representation of a frame; see `partae_fast.audio.frame_input.FrameInput`.
        layers: units of the hidden layers, joined by "-".
        activation: of the hidden layers: "mrelu", "leaky_relu" (slope 0.01), "relu" or "identity".
        batch_norm: "none", "input", "hidden" (before the activation of each hidden layer), "input-hidden", or "every"
            (at the input, in hidden layers and at the output).
        statistics: of batch normalisation after training, "running" or "batch"; see `BatchNorm`.
        rectified_output: whether the output is rectified.
        l2, l1: weights of the penalties on the weight matrices, >= 0.
        seed: of the initial weights.

    Raises UserError if an argument is out of range.

    >>> DenseAutoencoder(n_fft=64, layers="20")(torch.rand(5, 33)).shape
    torch.Size([5, 33])
    """

    RESTORED = ("seed", "rectified_output", "l2", "l1")

    def __init__(
        self,
        input: str = "magnitude",
        n_fft: int = 1024,
        spectrum: str = "one-sided",
        context: int = 3,
        layers: str = "2000",
        activation: str = "mrelu",
        batch_norm: str = "input",
        statistics: str = "running",
        rectified_output: bool = False,
        l2: float = 0.0,
        l1: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(FrameInput(input, n_fft, spectrum, context), seed)
        check_choice("activation", activation, tuple(ACTIVATIONS))
        check_choice("batch_norm", batch_norm, BATCH_NORM)
        check_choice("statistics", statistics, STATISTICS)
        check_number("l2", l2, 0.0)
        check_number("l1", l1, 0.0)
        hidden = _widths(layers)
        self.activation, self.batch_norm, self.statistics = activation, batch_norm, statistics
        self.rectified_output, self.l2, self.l1, self.layers = rectified_output, l2, l1, layers
        self.normalise = BatchNorm(self.input.inputs, statistics) if batch_norm in _AT_INPUT else None
        widths = [self.input.inputs, *hidden]
        inner = statistics if batch_norm in _INSIDE else None
        self.dense = nn.ModuleList(
            DenseLayer(inputs, outputs, activation, seed, number, inner)
            for number, (inputs, outputs) in enumerate(itertools.pairwise(widths))
        )
        outer = statistics if batch_norm == "every" else None
        self.dense.append(DenseLayer(widths[-1], self.input.outputs, "identity", seed, len(hidden), outer))

    @staticmethod
    def min_values(
        input: str = "magnitude", n_fft: int = 1024, context: int = 3, layers: str = "2000", **_: Any
    ) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        inputs = FrameInput(input, n_fft, context=context).inputs
        return sum(i * o for i, o in itertools.pairwise([inputs, *_widths(layers)]))

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {
            **super().config(),
            "layers": self.layers,
            "activation": self.activation,
            "batch_norm": self.batch_norm,
            "statistics": self.statistics,
            "rectified_output": self.rectified_output,
            "l2": self.l2,
            "l1": self.l1,
        }

    def signal(self, x: Tensor) -> Tensor:
        """Return the clean frames (B, outputs) of noisy frames x (B, inputs)."""
        return self._output(x, False, self.backend)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar.

        Args:
            batch: x (B, inputs) and target (B, outputs), the clean frames, first.
            penalty: ignored.
            backend: of the layers.
        """
        x, target = batch[:2]
        loss = F.mse_loss(self._output(x, True, backend), target)
        if not (self.l2 or self.l1):
            return loss
        weights = [layer.get_parameter("weight") for layer in self.dense]
        return loss + weight_penalty(weights, 2 * self.l2, 2 * self.l1)

    def _output(self, x: Tensor, training: bool, backend: str) -> Tensor:
        h = x if self.normalise is None else self.normalise(x, training)
        for layer in self.dense:
            h = layer(h, training, backend)
        return h.relu() if self.rectified_output else h


_AT_INPUT, _INSIDE = ("input", "input-hidden", "every"), ("hidden", "input-hidden", "every")


def _widths(layers: str) -> list[int]:
    parts = str(layers).split("-")
    if not all(part.isdecimal() for part in parts):
        raise UserError(f"layers is {layers!r}; give units joined by -, such as 2000 or {DEEP}")
    widths = [int(part) for part in parts]
    for width in widths:
        check_widths(layers=width)
    return widths
