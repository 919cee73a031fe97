"""The Curro autoencoder of Lusterman 2016: one decoder for signal and for noise."""

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
    """Three dense layers of mReLU; each half of the last goes through a decoder of three that both halves share.

    The halves are to be what the signal and what the noise in a frame consist of. With X and N what the decoder makes
    of the first and the second half, and y = 1 where an item is noise-only, the loss is equation 40 of the thesis,

        mean over items and outputs of  ((1 - y) X + N - x)^2

    X is taken for the signal, or N, or X + alpha N (`part`). Equations 41 and 42 of the thesis print Y-hat where N-hat
    is meant; in its program y is 1 for items with signal.

    Args:
        input, n_fft, spectrum, context: what a frame is to the network; see `partae_fast.audio.frame_input.FrameInput`.
        hidden: units of the first two layers. latents: of each half of the third. decoder: of the decoder's first two.
        batch_norm: "none"; "input"; or "every": at the input and before each activation, the output's included.
        statistics: what batch normalisation takes once trained, "running" or the "batch"'s own.
        part: what is taken for the signal, "signal" (X), "noise" (N) or "both" (X + alpha N).
        alpha: of "both"; see `learn_alpha`.
        seed: of the weights before the first step.

    Raises UserError where an argument is out of range.

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
    def least_numbers(hidden: int = 2048, latents: int = 1024, decoder: int = 1024, **_: Any) -> int:
        """How many numbers a model of such a configuration has at least."""
        return hidden * (hidden + 2 * latents) + decoder * (latents + decoder)

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
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
        """X and N, what the decoder makes of either half, (B, outputs) each, of frames x (B, inputs)."""
        return self._halves(x, False, self.backend)

    def signal(self, x: Tensor) -> Tensor:
        """What is taken for the signal, (B, outputs), of frames x (B, inputs); see `part`."""
        signal, noise = self.halves(x)
        if self.part == "both":
            return signal + self.alpha * noise
        return signal if self.part == "signal" else noise

    def learn_alpha(self, batches: list[tuple[Tensor, ...]]) -> float:
        """Set `alpha` to what brings X + alpha N nearest to the targets of batches (x, target, noise_only).

        By least squares over the items with signal; the targets must be clean. Returns it.
        """
        across, along = 0.0, 0.0
        with torch.no_grad():
            for x, target, noise_only in batches:
                has_signal = noise_only < 1
                signal, noise = self.halves(x[has_signal])
                across += float(((target[has_signal] - signal) * noise).double().sum())
                along += float(noise.double().square().sum())
        if not along:
            raise UserError("the noise half is silent in every batch, so no alpha can be learned; set one")
        self.alpha = across / along
        return self.alpha

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The loss of x (B, inputs) and, last, noise_only (B,), a scalar. There is no penalty here."""
        x, noise_only = batch[0], batch[-1]
        signal, noise = self._halves(x, True, backend)
        return functional.curro_loss(signal, noise, self.input.middle(x), noise_only, backend) / self.input.outputs

    def _halves(self, x: Tensor, training: bool, backend: str) -> tuple[Tensor, Tensor]:
        h = x if self.normalise is None else self.normalise(x, training)
        for layer in self.encoder:
            h = layer(h, training, backend)
        h = torch.cat(h.chunk(2, dim=1))  # both halves, one below the other: one product a layer
        for layer in self.decoder:
            h = layer(h, training, backend)
        signal, noise = h.chunk(2)
        return signal, noise
