"""The partitioned dense autoencoder of Lusterman 2016, after Stowell & Turner 2015."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..audio.frame_input import FrameInput
from .frame_autoencoder import FrameAutoencoder
from .frame_layers import STATISTICS, BatchNorm, DenseLayer, check_choice, check_number, check_widths
from .penalties import latent_penalty


class DensePartitionedAutoencoder(FrameAutoencoder):
    """An autoencoder of frames with one hidden layer of mReLU, partitioned into signal and noise latents.

    The first round(latents * background) latents are for noise. The loss is equation 34 of the thesis, with
    y = noise_only and C = 1 for signal latents:

        mean over items of  sum (output - x)^2  +  penalty * y / mean(C) * sum (C * latents)^2

    The penalty keeps signal latents at 0 in items without signal, as in `pf.partitioned_loss`. The estimate of the
    signal is decoded from the signal latents alone.

    The thesis's program differs from its text. Half of the latents and of the items are for noise (background=0.5, and
    noise_only=0.5 of the sampler). The output is rectified. mean(C) is also over items, where items with signal count
    as 0 (mean_over_items). An index that is off by one leaves the first signal latent out of C (unpenalised=1). For
    all of this, use `partae train --model dense-partitioned --set as_program=true`.

    Args:
        input, n_fft, spectrum, context: representation of a frame; see `partae_fast.audio.frame_input.FrameInput`.
        latents: units of the hidden layer.
        background: share of noise latents, in [0, 1].
        batch_norm: "input", "none", or "every": at the input, before the latents' activation and at the output.
        statistics: of batch normalisation after training, "running" or "batch"; see `BatchNorm`.
        rectified_output: whether the output is rectified.
        mean_over_items: whether mean(C) is also over items.
        unpenalised: number of signal latents, from the first on, that C leaves out.
        seed: of the initial weights.

    Raises UserError if an argument is out of range.

    >>> import torch
    >>> DensePartitionedAutoencoder(n_fft=64, latents=20)(torch.rand(5, 33)).shape
    torch.Size([5, 33])
    """

    RESTORED = ("seed", "rectified_output", "mean_over_items", "unpenalised")

    def __init__(
        self,
        input: str = "magnitude",
        n_fft: int = 1024,
        spectrum: str = "one-sided",
        context: int = 3,
        latents: int = 2000,
        background: float = 0.25,
        batch_norm: str = "input",
        statistics: str = "running",
        rectified_output: bool = False,
        mean_over_items: bool = False,
        unpenalised: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(FrameInput(input, n_fft, spectrum, context), seed)
        check_widths(latents=latents)
        check_number("background", background, 0.0, 1.0)
        check_choice("batch_norm", batch_norm, ("input", "none", "every"))
        check_choice("statistics", statistics, STATISTICS)
        check_number("unpenalised", unpenalised, 0)
        self.latents_count, self.background, self.batch_norm = latents, background, batch_norm
        self.statistics, self.rectified_output = statistics, rectified_output
        self.mean_over_items, self.unpenalised = mean_over_items, unpenalised
        self.noise_latents = round(latents * background)
        self.normalise = None if batch_norm == "none" else BatchNorm(self.input.inputs, statistics)
        every = statistics if batch_norm == "every" else None
        self.encoder = DenseLayer(self.input.inputs, latents, "mrelu", seed, 0, every)
        self.decoder = DenseLayer(latents, self.input.outputs, "identity", seed, 1, every)

    @staticmethod
    def min_values(input: str = "magnitude", n_fft: int = 1024, context: int = 3, latents: int = 2000, **_: Any) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        inputs = FrameInput(input, n_fft, context=context).inputs
        return inputs * latents

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {
            **super().config(),
            "latents": self.latents_count,
            "background": self.background,
            "batch_norm": self.batch_norm,
            "statistics": self.statistics,
            "rectified_output": self.rectified_output,
            "mean_over_items": self.mean_over_items,
            "unpenalised": self.unpenalised,
        }

    def latents(self, x: Tensor) -> Tensor:
        """Return the latents (B, K) of frames x (B, inputs), noise latents first."""
        return self._encode(x, False, self.backend)

    def signal(self, x: Tensor) -> Tensor:
        """Return the signal (B, outputs) of frames x (B, inputs), decoded from the signal latents."""
        z = self.latents(x)
        z[:, : self.noise_latents] = 0
        return self._decode(z, False, self.backend)

    def reconstruction(self, x: Tensor) -> Tensor:
        """Return the reconstruction (B, outputs) of frames x (B, inputs), decoded from all latents."""
        return self._decode(self.latents(x), False, self.backend)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar.

        Args:
            batch: x (B, inputs) first and noise_only (B,) last.
            penalty: weight of the penalty.
            backend: of the layers.
        """
        x, noise_only = batch[0], batch[-1]
        z = self._encode(x, True, backend)
        error = self._decode(z, True, backend) - self.input.middle(x)
        loss = error.square().sum() / len(x)
        first = self.noise_latents + self.unpenalised  # penalised latent
        share = (self.latents_count - first) / self.latents_count
        if not (penalty and share > 0):
            return loss
        mean = share * noise_only.mean().clamp(min=1 / len(x)) if self.mean_over_items else share
        return loss + penalty / mean * latent_penalty(z, first, noise_only) / len(x)

    def _encode(self, x: Tensor, training: bool, backend: str) -> Tensor:
        return self.encoder(x if self.normalise is None else self.normalise(x, training), training, backend)

    def _decode(self, z: Tensor, training: bool, backend: str) -> Tensor:
        out = self.decoder(z, training, backend)
        return out.relu() if self.rectified_output else out
