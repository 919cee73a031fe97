"""The partitioned convolutional autoencoder of Stowell & Turner 2015, section 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from .initialisation import orthogonal

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..denoising.mask import Mask


class ConvPartitionedAutoencoder(nn.Module):
    """One convolutional layer, rectified and max-pooled, whose latents are shared out between signal and noise.

    Background latents, the first round(latents * background) of them, are for noise; the others, the foreground,
    for signal: in training, what foreground latents do in a noise-only item is penalised. No biases. The output is at
    the scale of the input; mean and std are applied at the encoder alone.

    Args:
        bins: H, the spectrogram's bins. latents: K. taps: M, the frames under a filter. pool: P, frames.
        background: share of background latents, in [0, 1].
        seed: of the random orthonormal filters that training starts from.

    Attributes:
        w_enc (M, H, K), w_dec (M, K, H): parameters.
        mean, std (H,): buffers, of the training set, per bin; a Trainer sets them from its sampler.
        noise_mean_square (H,): buffer, the mean square magnitude per bin of noise-only audio; 0 where unknown.
        foreground (K,): buffer, the mask C: 1 where a latent is for signal.
        spectrogram, mask: how recordings become input, and output becomes audio; None until set, saved with it.
        backend: what serves it, "auto" or a name out of `pf.backends()`.

    Raises UserError where an argument is out of range.

    >>> model = ConvPartitionedAutoencoder(bins=32, latents=32, taps=9, pool=16, background=0.25)
    >>> model(torch.rand(2, 100, 32)).shape
    torch.Size([2, 100, 32])
    """

    w_enc: nn.Parameter
    w_dec: nn.Parameter
    mean: Tensor
    std: Tensor
    noise_mean_square: Tensor
    foreground: Tensor

    def __init__(
        self,
        bins: int = 32,
        latents: int = 32,
        taps: int = 9,
        pool: int = 16,
        background: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("bins", bins), ("latents", latents), ("taps", taps), ("pool", pool)):
            if value < 1:
                raise UserError(f"{name} is {value}; it must be at least 1")
        if not 0 <= background <= 1:
            raise UserError(f"background is {background}; it is a share of the latents, from 0 to 1")
        self.bins, self.latents_count, self.taps, self.pool = bins, latents, taps, pool
        self.background, self.seed = background, seed
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
        """The arguments that construct an equal, untrained model."""
        return {
            "bins": self.bins,
            "latents": self.latents_count,
            "taps": self.taps,
            "pool": self.pool,
            "background": self.background,
            "seed": self.seed,
        }

    def latents(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values and positions, each (B, ceil(N/P), K), of spectrograms x (B, N, H); see `pf.encode`."""
        return functional.encode(x, self.w_enc, self.pool, self.mean, self.std, self.backend)

    def forward(self, x: Tensor) -> Tensor:
        """The reconstruction (B, N, H) of spectrograms x (B, N, H)."""
        values, positions = self.latents(x)
        return functional.decode(values, positions, self.w_dec, x.shape[1], self.backend)

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise, (B, N, H) each: what foreground and background latents reconstruct on their own.

        They add up to the reconstruction, for decoding is linear. Magnitudes as the decoder gives them: some are < 0.
        """
        values, positions = self.latents(x)
        parts = torch.cat([values * self.foreground, values * (1 - self.foreground)])
        both = functional.decode(parts, positions.repeat(2, 1, 1), self.w_dec, x.shape[1], self.backend)
        signal, noise = both.chunk(2)
        return signal, noise

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())
