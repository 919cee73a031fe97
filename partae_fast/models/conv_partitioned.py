"""The partitioned convolutional autoencoder of Stowell & Turner 2015, section 3."""

import torch
from torch import Tensor

from .. import functional
from .conv_autoencoder import ConvAutoencoder


class ConvPartitionedAutoencoder(ConvAutoencoder):
    """One convolutional layer, rectified and max-pooled, whose latents are shared out between signal and noise.

    Background latents, the first round(latents * background) of them, are for noise; the others, the foreground,
    for signal: in training, what foreground latents do in a noise-only item is penalised. Attributes are those of
    `ConvAutoencoder`.

    Args:
        bins: H, the spectrogram's bins. latents: K. taps: M, the frames under a filter. pool: P, frames.
        background: share of background latents, in [0, 1].
        seed: of the random orthonormal filters that training starts from.
        negative_slope: slope of the encoder's rectifier below 0, in [0, 1); 0 in the paper, 1/3 in its author's later
            program.
        rectified_output: whether the reconstruction is max(what is decoded, 0).

    Raises UserError where an argument is out of range.

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
        """The arguments that construct an equal, untrained model."""
        return {**super().config(), "background": self.background}

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise, (B, N, H) each: what foreground and background latents reconstruct on their own.

        They add up to what is decoded, for decoding is linear. Magnitudes as the decoder gives them, some of them < 0,
        whether or not the reconstruction is rectified.
        """
        values, positions = self.latents(x)
        parts = torch.cat([values * self.foreground, values * (1 - self.foreground)])
        both = functional.decode(parts, positions.repeat(2, 1, 1), self.w_dec, x.shape[1], self.backend)
        signal, noise = both.chunk(2)
        return signal, noise
