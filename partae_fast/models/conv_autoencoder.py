"""The base class of the convolutional autoencoders of Stowell & Turner 2015, section 3."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from .initialisation import orthogonal
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask


class ConvAutoencoder(StatefulModel):
    """A convolutional encoder with rectifier and max-pooling, and a convolutional decoder, both without biases.

    The encoder normalises its input by mean and std; the output has the scale of the input. The first
    round(latents * background) latents are for noise (background), the others for signal (foreground). Subclasses
    define `separate`.

    Attributes:
        w_enc, w_dec: parameters (M, H, K) and (M, K, H).
        mean, std: buffers (H,), per bin over the training data; set by the Trainer.
        noise_mean_square: buffer (H,), mean square magnitude per bin of noise-only audio; 0 if unknown.
        foreground: buffer (K,), C in the paper, 1 for foreground latents and 0 for background latents.
        spectrogram: converts recordings to input; None until set. Saved with the model.
        mask: settings of the mask that is applied to recordings; None until set. Saved with the model.
        backend: "auto" or a name of `pf.backends()`.

    Raises UserError if an argument is out of range.
    """

    RESTORED = ("seed", "negative_slope", "rectified_output")

    w_enc: nn.Parameter
    w_dec: nn.Parameter
    mean: Tensor
    std: Tensor
    noise_mean_square: Tensor
    foreground: Tensor

    def __init__(
        self,
        bins: int,
        latents: int,
        taps: int,
        pool: int,
        background: float,
        seed: int,
        negative_slope: float,
        rectified_output: bool,
    ) -> None:
        super().__init__()
        for name, value in (("bins", bins), ("latents", latents), ("taps", taps), ("pool", pool)):
            if not isinstance(value, Integral) or not 1 <= value < 2**31:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least 1")
        if not 0 <= background <= 1:
            raise UserError(f"background is {background}; it is a share of the latents, from 0 to 1")
        if not 0 <= negative_slope < 1:
            raise UserError(f"negative_slope is {negative_slope}; it must be from 0 up to, not including, 1")
        if rectified_output not in (False, True):
            raise UserError(f"rectified_output is {rectified_output!r}; it must be true or false")
        self.bins, self.latents_count, self.taps, self.pool, self.seed = bins, latents, taps, pool, seed
        self.negative_slope, self.rectified_output = negative_slope, rectified_output
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend = "auto"
        w_enc, w_dec = orthogonal(taps, bins, latents, seed)
        self.w_enc, self.w_dec = nn.Parameter(w_enc), nn.Parameter(w_dec)
        self.register_buffer("mean", torch.zeros(bins))
        self.register_buffer("std", torch.ones(bins))
        self.register_buffer("noise_mean_square", torch.zeros(bins))
        self.register_buffer("foreground", (torch.arange(latents) >= round(latents * background)).float())

    def config(self) -> dict[str, int | float]:
        """Return the arguments that construct an equal, untrained model."""
        return {
            "bins": self.bins,
            "latents": self.latents_count,
            "taps": self.taps,
            "pool": self.pool,
            "seed": self.seed,
            "negative_slope": self.negative_slope,
            "rectified_output": self.rectified_output,
        }

    def latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return values and positions, (B, ceil(N/P), K) each, of spectrograms x (B, N, H); see `pf.encode`."""
        return functional.encode(x, self.w_enc, self.pool, self.mean, self.std, self.backend, self.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstruction (B, N, H) of spectrograms x (B, N, H)."""
        values, positions = self.latents(x)
        decoded = functional.decode(values, positions, self.w_dec, x.shape[1], self.backend)
        return decoded.relu() if self.rectified_output else decoded

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss of a batch, a scalar; see `pf.partitioned_loss`.

        Args:
            batch: x, noise_only and, if the target is not x, the target; see `CropSampler`.
            penalty: weight of the penalty.
            backend: of the op.
        """
        x, noise_only, target = batch if len(batch) == 3 else (*batch, None)
        return functional.partitioned_loss(
            x,
            self.mean,
            self.std,
            self.w_enc,
            self.w_dec,
            noise_only,
            self.foreground,
            penalty,
            self.pool,
            target,
            backend,
            self.negative_slope,
            self.rectified_output,
        )

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise, (B, N, H) each, of spectrograms x (B, N, H)."""
        raise NotImplementedError

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
