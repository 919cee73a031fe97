"""The Curro autoencoder of Lusterman 2016, with a shared decoder for signal and noise."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .. import functional
from ..audio.frame_input import FrameInput
from ..errors import UserError
from .frame_autoencoder import FrameAutoencoder
from .frame_layers import STATISTICS, BatchNorm, DenseLayer, check_choice, check_number, check_widths

PARTS = ("signal", "noise", "both")


class CurroAutoencoder(FrameAutoencoder):
    """A dense autoencoder whose latents have two halves, one for signal and one for noise, and a shared decoder.

    The encoder and the decoder have three dense layers each, with mReLU except at the output. Let X and N be the
    decoded first and second half of the latents, and y = 1 for noise-only items. The loss is equation 40 of the thesis:

        mean over items and outputs of  ((1 - y) X + N - x)^2

    The estimate of the signal is X, N or X + alpha N (`part`). Equations 41 and 42 of the thesis have Y-hat instead of
    N-hat, a misprint. In the thesis's program, y is 1 for items with signal.

    Args:
        input, n_fft, spectrum, context: representation of a frame; see `partae_fast.audio.frame_input.FrameInput`.
        hidden: units of the first two encoder layers.
        latents: units of each half of the third.
        decoder: units of the first two decoder layers.
        batch_norm: "none"; "input"; or "every": at the input, before each activation and at the output.
        statistics: of batch normalisation after training, "running" or "batch"; see `BatchNorm`.
        part: estimate of the signal: "signal" (X), "noise" (N) or "both" (X + alpha N).
        alpha: weight of N for "both"; see `learn_alpha`.
        seed: of the initial weights.

    Raises UserError if an argument is out of range.

    >>> CurroAutoencoder(n_fft=64, hidden=20, latents=10, decoder=10)(torch.rand(5, 33)).shape
    torch.Size([5, 33])
    """

    RESTORED = ("seed", "part", "alpha")

    def __init__(
        self,
        input: str = "magnitude",
        n_fft: int = 1024,
        spectrum: str = "one-sided",
        context: int = 3,
        hidden: int = 2048,
        latents: int = 1024,
        decoder: int = 1024,
        batch_norm: str = "none",
        statistics: str = "running",
        part: str = "signal",
        alpha: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__(FrameInput(input, n_fft, spectrum, context), seed)
        check_widths(hidden=hidden, latents=latents, decoder=decoder)
        check_choice("batch_norm", batch_norm, ("none", "input", "every"))
        check_choice("statistics", statistics, STATISTICS)
        check_choice("part", part, PARTS)
        check_number("alpha", alpha)
        self.hidden, self.latents_count, self.decoder_units = hidden, latents, decoder
        self.batch_norm, self.statistics, self.part, self.alpha = batch_norm, statistics, part, alpha
        self.normalise = None if batch_norm == "none" else BatchNorm(self.input.inputs, statistics)
        every = statistics if batch_norm == "every" else None
        widths = (self.input.inputs, hidden, hidden, 2 * latents)
        self.encoder = nn.ModuleList(DenseLayer(widths[i], widths[i + 1], "mrelu", seed, i, every) for i in range(3))
        widths = (latents, decoder, decoder, self.input.outputs)
        self.decoder = nn.ModuleList(
            DenseLayer(widths[i], widths[i + 1], "identity" if i == 2 else "mrelu", seed, 3 + i, every)
            for i in range(3)
        )

    @staticmethod
    def min_values(hidden: int = 2048, latents: int = 1024, decoder: int = 1024, **_: Any) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return hidden * (hidden + 2 * latents) + decoder * (latents + decoder)

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {
            **super().config(),
            "hidden": self.hidden,
            "latents": self.latents_count,
            "decoder": self.decoder_units,
            "batch_norm": self.batch_norm,
            "statistics": self.statistics,
            "part": self.part,
            "alpha": self.alpha,
        }

    def halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return X and N, the decoded halves, (B, outputs) each, of frames x (B, inputs)."""
        return self._halves(x, False, self.backend)

    def signal(self, x: Tensor) -> Tensor:
        """Return the estimate of the signal (B, outputs) of frames x (B, inputs); see `part`."""
        signal, noise = self.halves(x)
        if self.part == "both":
            return signal + self.alpha * noise
        return signal if self.part == "signal" else noise

    def learn_alpha(self, batches: list[tuple[Tensor, ...]]) -> float:
        """Set `alpha` to the least-squares fit of X + alpha N to clean targets, and return it.

        Args:
            batches: (x, target, noise_only) each; only items with signal are used.

        Raises UserError if N is 0 in all batches.
        """
        numerator, denominator = 0.0, 0.0
        with torch.no_grad():
            for x, target, noise_only in batches:
                has_signal = noise_only < 1
                signal, noise = self.halves(x[has_signal])
                numerator += float(((target[has_signal] - signal) * noise).double().sum())
                denominator += float(noise.double().square().sum())
        if not denominator:
            raise UserError("the noise half is silent in every batch, so alpha cannot be learned; set alpha")
        self.alpha = numerator / denominator
        return self.alpha

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar.

        Args:
            batch: x (B, inputs) first and noise_only (B,) last.
            penalty: ignored.
            backend: of the ops.
        """
        x, noise_only = batch[0], batch[-1]
        signal, noise = self._halves(x, True, backend)
        return functional.curro_loss(signal, noise, self.input.middle(x), noise_only, backend) / self.input.outputs

    def _halves(self, x: Tensor, training: bool, backend: str) -> tuple[Tensor, Tensor]:
        h = x if self.normalise is None else self.normalise(x, training)
        for layer in self.encoder:
            h = layer(h, training, backend)
        h = torch.cat(h.chunk(2, dim=1))  # the halves as one batch: one matrix product per layer
        for layer in self.decoder:
            h = layer(h, training, backend)
        signal, noise = h.chunk(2)
        return signal, noise
