"""The convolutional denoising autoencoder of Stowell & Turner 2015, section 4: their baseline."""

from torch import Tensor

from .conv_autoencoder import ConvAutoencoder


class ConvDenoisingAutoencoder(ConvAutoencoder):
    """The network of `ConvPartitionedAutoencoder` without a partition, trained to remove a corruption.

    Train it on a sampler with `corruption` and noise_only=0: the input is signal plus corruption, the target is the
    signal, and the loss is the squared error. Every latent is foreground. For the attributes, see `ConvAutoencoder`.

    Args:
        bins: H, bins of the spectrogram.
        latents: K.
        taps: M, frames of a filter.
        pool: P, frames of a pooling window.
        seed: of the initial filters, which are random and orthonormal.
        negative_slope: of the encoder's rectifier, in [0, 1); 0 in the paper, 1/3 in its author's later program.
        rectified_output: whether the reconstruction is rectified.

    Raises UserError if an argument is out of range.

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
        """Return the reconstruction (B, N, H) of spectrograms x (B, N, H), which is the signal."""
        return self(x)

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise, (B, N, H) each: the reconstruction and x minus it; both may be negative."""
        signal = self.signal(x)
        return signal, x - signal
