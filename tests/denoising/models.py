"""Small models for the tests of denoising."""

import torch
from torch.nn.functional import conv1d, max_pool1d, max_unpool1d, pad, relu

from partae_fast.audio import Spectrogram
from partae_fast.denoising import Mask


class Stub(torch.nn.Module):
    """Convolutional autoencoder in plain PyTorch with random filters; half of the latents are foreground."""

    def __init__(self, spectrogram=None, pool=16, taps=9, latents=6, seed=0):
        super().__init__()
        self.spectrogram = spectrogram or Spectrogram(bins=32)
        self.mask: Mask | None = Mask()
        self.pool, self.taps = pool, taps
        generator = torch.Generator().manual_seed(seed)
        bins = self.spectrogram.bins
        self.w_enc = torch.nn.Parameter(torch.randn(taps, bins, latents, generator=generator))
        self.w_dec = torch.nn.Parameter(torch.randn(taps, latents, bins, generator=generator).abs())
        self.register_buffer("foreground", (torch.arange(latents) < latents // 2).float())

    def separate(self, x):
        """Return signal and noise for magnitudes (B, N, H)."""
        frames, before = x.shape[1], (self.taps - 1) // 2
        padding = (self.taps - 1 - before, before)  # as in the encoder, which reads frames n + c - m
        z = relu(conv1d(pad(x.mT, padding), self.w_enc.permute(2, 1, 0).flip(-1)))
        missing = -frames % self.pool
        values, positions = max_pool1d(pad(z, (0, missing)), self.pool, return_indices=True)
        u = max_unpool1d(values, positions, self.pool)[..., :frames]
        after = self.taps // 2
        parts = []
        for latents in (self.foreground, 1 - self.foreground):
            v = pad(u * latents[:, None], (self.taps - 1 - after, after))
            parts.append(conv1d(v, self.w_dec.permute(2, 1, 0).flip(-1)).mT)
        return parts[0], parts[1]


class Fixed(torch.nn.Module):
    """Model whose reconstructions are the input times two constants, so the gain is constant in the band."""

    def __init__(self, spectrogram, signal=1.0, noise=0.0, pool=16, taps=9):
        super().__init__()
        self.spectrogram, self.mask = spectrogram, None
        self.pool, self.taps = pool, taps
        self.signal, self.noise = signal, noise

    def separate(self, x):
        return x * self.signal, x * self.noise
