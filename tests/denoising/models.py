"""Models small enough to follow by hand, one of them with the reach in time of a trained one."""

import torch
from torch.nn.functional import conv1d, max_pool1d, max_unpool1d, pad, relu

from partae_fast.audio import Spectrogram
from partae_fast.denoising import Mask


class Stub(torch.nn.Module):
    """Encode, pool, unpool, decode in plain PyTorch, with random filters; half of the latents are foreground."""

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
        """Magnitudes (B, N, H) -> (signal, noise)."""
        frames, before = x.shape[1], (self.taps - 1) // 2
        around = (self.taps - 1 - before, before)  # as in the convolution of the real model, from n + c - m
        z = relu(conv1d(pad(x.mT, around), self.w_enc.permute(2, 1, 0).flip(-1)))
        short = -frames % self.pool
        values, positions = max_pool1d(pad(z, (0, short)), self.pool, return_indices=True)
        u = max_unpool1d(values, positions, self.pool)[..., :frames]
        after = self.taps // 2
        parts = []
        for chosen in (self.foreground, 1 - self.foreground):
            v = pad(u * chosen[:, None], (self.taps - 1 - after, after))
            parts.append(conv1d(v, self.w_dec.permute(2, 1, 0).flip(-1)).mT)
        return parts[0], parts[1]


class Fixed(torch.nn.Module):
    """The reconstructions are the input times two constants: the gain is the same everywhere in the band."""

    def __init__(self, spectrogram, signal=1.0, noise=0.0, pool=16, taps=9):
        super().__init__()
        self.spectrogram, self.mask = spectrogram, None
        self.pool, self.taps = pool, taps
        self.signal, self.noise = signal, noise

    def separate(self, x):
        return x * self.signal, x * self.noise
