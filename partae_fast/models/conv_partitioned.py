"""The partitioned convolutional autoencoder of Stowell & Turner 2015, section 3."""

import torch
from torch import Tensor

from .. import functional
from .conv_autoencoder import ConvAutoencoder


class ConvPartitionedAutoencoder(ConvAutoencoder):
    """A convolutional autoencoder whose latents are partitioned into foreground for signal and background for noise.

    The first round(latents * background) latents are background. Training penalises the activity of foreground latents
    in noise-only items. For the attributes, see `ConvAutoencoder`.

    Args:
        bins: H, bins of the spectrogram.
        latents: K.
        taps: M, frames of a filter.
        pool: P, frames of a pooling window.
        background: share of background latents, in [0, 1].
        seed: of the initial filters, which are random and orthonormal.
        negative_slope: of the encoder's rectifier, in [0, 1); 0 in the paper, 1/3 in its author's later program.
        rectified_output: whether the reconstruction is rectified.

    Raises UserError if an argument is out of range.

    >>> model = ConvPartitionedAutoencoder(bins=32, latents=32, taps=9, pool=16, background=0.25)
    >>> model(torch.rand(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    RESTORED = (*ConvAutoencoder.RESTORED, "background")

    def __init__(
        self,
        bins: int = 32,
        latents: int = 32,
        taps: int = 9,
        pool: int = 16,
        background: float = 0.25,
        seed: int = 0,
        negative_slope: float = 0.0,
        rectified_output: bool = False,
    ) -> None:
        super().__init__(bins, latents, taps, pool, background, seed, negative_slope, rectified_output)
        self.background = background

    def config(self) -> dict[str, int | float]:
        """Return the arguments that construct an equal, untrained model."""
        return {**super().config(), "background": self.background}

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise, (B, N, H) each: the reconstructions from foreground and from background latents.

        The decoder is linear, so they add up to the reconstruction before its rectifier. They are not rectified and may
        be negative.
        """
        values, positions = self.latents(x)
        parts = torch.cat([values * self.foreground, values * (1 - self.foreground)])
        decoded = functional.decode(parts, positions.repeat(2, 1, 1), self.w_dec, x.shape[1], self.backend)
        signal, noise = decoded.chunk(2)
        return signal, noise
