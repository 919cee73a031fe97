"""The model of preset `field`: a denoising autoencoder whose estimate is averaged with a filter's."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..masking.mask import gain_of
from .denoising_conv import ConvDenoisingAutoencoder
from .noise_filter import NoiseFilter, filtered
from .state import tensors_of


class FilteredDenoisingAutoencoder(ConvDenoisingAutoencoder):
    """A denoising autoencoder whose estimate is averaged with that of a `NoiseFilter`.

    The network fails on signals that are unlike its training targets, and the filter on unsteady noise. The mean of
    both is rarely far below the better one.

    Args:
        bins, latents, taps, pool, seed, negative_slope, rectified_output: see `ConvDenoisingAutoencoder`.
        hop, rate, low: see `NoiseFilter`; hop is that of the spectrogram too.
        share: weight of the filter in the estimate, in [0, 1].

    Attributes are those of `ConvDenoisingAutoencoder`, and `filter`. `separate` and `signal` use the network only.

    Raises UserError if an argument is out of range.
    """

    RESTORED = (*ConvDenoisingAutoencoder.RESTORED, "share")

    history: Any

    def __init__(
        self,
        bins: int = 128,
        latents: int = 64,
        taps: int = 5,
        pool: int = 4,
        seed: int = 0,
        negative_slope: float = 0.0,
        rectified_output: bool = False,
        hop: int = 64,
        rate: int = 22050,
        low: float = 0.0,
        share: float = 0.75,
    ) -> None:
        super().__init__(bins, latents, taps, pool, seed, negative_slope, rectified_output)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise UserError(f"share is {share!r}; it must be a number from 0 to 1")
        self.share = float(share)
        self.filter = NoiseFilter(hop, rate, low)

    @classmethod
    def of(cls, network: ConvDenoisingAutoencoder, filter: NoiseFilter, share: float) -> FilteredDenoisingAutoencoder:
        """Return a model with the weights, statistics, spectrogram and mask of a network, and with a filter."""
        model = cls(**network.config(), **filter.config(), share=share)  # pyright: ignore[reportArgumentType]
        own = {f"filter.{name}": tensor for name, tensor in filter.state_dict().items()}
        model.load_state_dict({**tensors_of(network), **own})
        model.to(network.w_enc.device)
        model.spectrogram, model.mask, model.backend = network.spectrogram, network.mask, network.backend
        return model

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {**super().config(), **self.filter.config(), "share": self.share}

    @property
    def block(self) -> int:
        """Chunks of a stream start at a multiple of this number of frames."""
        return math.lcm(self.filter.block // self.filter.hop, self.pool)

    @property
    def halo(self) -> int:
        """Number of frames on each side of a chunk that affect it, through the filter, the network or its mask."""
        smoothing = 0 if self.mask is None else self.mask.reach
        reach = max(self.filter.halo // self.filter.hop, 2 * (self.taps - 1 + self.pool) + smoothing)
        return -(-reach // self.block) * self.block

    @property
    def window(self) -> int:
        """Samples of the filter's longest window."""
        return max(self.filter.windows)

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the spectra of the signal, (channels, N, n_fft // 2 + 1); 0 outside the band."""
        assert self.spectrogram is not None
        band = slice(self.spectrogram.first, self.spectrogram.first + self.bins)
        out = torch.zeros_like(spectra)
        if self.share < 1:
            x = spectra[..., band].abs() * self.spectrogram.gain
            signal, noise = self.separate(x)
            gain = gain_of(self, *(part.float().cpu().numpy() for part in (x, signal, noise)))
            out[..., band] = (1 - self.share) * torch.from_numpy(gain).to(spectra.device) * spectra[..., band]
        if self.share > 0:
            out += self.share * filtered(self.filter, spectra, self.spectrogram)
        return out
