"""The denoising autoencoder that Stowell & Turner 2015, section 4, compare theirs with."""

from torch import Tensor

from .conv_autoencoder import ConvAutoencoder


class ConvDenoisingAutoencoder(ConvAutoencoder):
    """The same network without a partition, trained to make the clean spectrogram out of a corrupted one.

    It is trained on a sampler with `corruption` and noise_only=0: the input is signal and corruption, the target the
    signal alone, and the loss the squared error. Every latent is foreground. Attributes are those of
    `ConvAutoencoder`.

    Args:
        bins: H, the spectrogram's bins. latents: K. taps: M, the frames under a filter. pool: P, frames.
        seed: of the random orthonormal filters that training starts from.
        negative_slope: slope of the encoder's rectifier below 0, in [0, 1); 0 in the paper, 1/3 in its author's later
            program.
        rectified_output: whether the reconstruction is max(what is decoded, 0).

    Raises UserError where an argument is out of range.

    >>> import torch
    >>> signal, noise = ConvDenoisingAutoencoder(bins=8, latents=4).separate(torch.rand(2, 100, 8))
    >>> signal.shape, noise.shape
    (torch.Size([2, 100, 8]), torch.Size([2, 100, 8]))
    """

    def __init__(
        self,
        bins: int = 32,
        latents: int = 32,
        taps: int = 9,
        pool: int = 16,
        seed: int = 0,
        negative_slope: float = 0.0,
        rectified_output: bool = False,
    ) -> None:
        super().__init__(bins, latents, taps, pool, 0.0, seed, negative_slope, rectified_output)

    def signal(self, x: Tensor) -> Tensor:
        """The reconstruction (B, N, H), all of which is signal."""
        return self(x)

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise, (B, N, H) each: the reconstruction, and what it leaves of x; either may be < 0."""
        signal = self.signal(x)
        return signal, x - signal
