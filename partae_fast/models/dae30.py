"""DAE-30, a denoising autoencoder of thirty convolutional layers with skips: a baseline of Hetherly et al. 2018."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UserError
from ..kernels.philox import words
from .separation import Separation, voice_and_noise
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

LAYERS, TAPS = 15, 5  # convolutions, and as many transposed ones; width of a filter in frames and bins
_LAST_SCALE, _LAST_BIAS = 0.01, 0.5  # factor of the initial weights, and initial bias, of the last layer
_PATCH = 2  # group, the third word of the random counter, for positions of patches; the sampler uses 0 and 1


class DAE30(StatefulModel):
    """Fifteen convolutional and fifteen transposed convolutional layers of 5x5 filters, each with ReLU.

    The output of every second convolution is added to the input of its mirror image among the transposed ones (Mao,
    Shen & Yang 2016). The input is the square roots of a recording's magnitudes, standardised over the recording. The
    output is the square roots of the voice's magnitudes, divided by the standard deviation of the input.

    The loss is the mean squared error of the output. At full size, a step costs about 2.8 TFLOP per mixture of 2 s.

    Args:
        filters: of each layer; 128 in the paper.
        bins: of the spectrogram.
        patch: frames and bins of a random patch of each item to train on; 0 for whole items.
        seed: of initial weights and positions of patches.

    Attributes:
        spectrogram: converts recordings to input; None until set. Saved with the model.
        mask: None.
        pool, taps: 1.
        needs_whole_recording: True, because the input is standardised over the recording.

    Raises UserError if an argument is out of range.

    >>> DAE30(filters=2, bins=9)(torch.rand(1, 6, 9)).shape
    torch.Size([1, 6, 9])
    """

    RESTORED = ("seed", "patch")

    def __init__(self, filters: int = 128, bins: int = 257, patch: int = 0, seed: int = 0) -> None:
        super().__init__()
        for name, value, minimum in (("filters", filters, 1), ("bins", bins, 1), ("patch", patch, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value < 2**16:
                raise UserError(f"{name} is {value!r}; it must be a whole number, from {minimum} to 65535")
        self.filters, self.bins, self.patch, self.seed = filters, bins, patch, seed
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps, self.needs_whole_recording, self.step = "auto", 1, 1, True, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            padding = TAPS // 2
            self.down = nn.ModuleList(
                nn.Conv2d(filters if number else 1, filters, TAPS, padding=padding) for number in range(LAYERS)
            )
            self.up = nn.ModuleList(
                nn.ConvTranspose2d(filters, filters if number < LAYERS - 1 else 1, TAPS, padding=padding)
                for number in range(LAYERS)
            )
            for layer in (*self.down, *self.up):
                nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")
                nn.init.zeros_(layer.get_parameter("bias"))
            # The initial output is about the mean of a voice. Otherwise the sums of seven skips would soon make the
            # input of the last rectifier negative nearly everywhere, where it passes no gradient.
            self.up[-1].get_parameter("weight").data *= _LAST_SCALE
            nn.init.constant_(self.up[-1].get_parameter("bias"), _LAST_BIAS)

    @staticmethod
    def min_values(filters: int = 128, **_: Any) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return 2 * (LAYERS - 1) * TAPS**2 * filters**2

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal, untrained model."""
        return {"filters": self.filters, "bins": self.bins, "patch": self.patch, "seed": self.seed}

    def forward(self, x: Tensor) -> Tensor:
        """Return the voice's magnitudes (B, T, F), >= 0, of a mixture x (B, T, F)."""
        standardised, deviation = standardise(x)
        return (self._network(standardised) * deviation).square()

    def masks(self, x: Tensor) -> Tensor:
        """Return masks of voice and noise, (B, N, bins, 2), of magnitudes x (B, N, bins).

        The mask of the voice is the output of `forward` over x, at most 1; the mask of the noise is 1 minus it.
        """
        voice = (self(x) / x.clamp_min(1e-12)).clamp_max(1)
        return torch.stack([voice, 1 - voice], dim=-1)

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Return the separation into voice and noise by `masks`; see `voice_and_noise`."""
        return voice_and_noise(self.masks, step, count, whole_recording=True)

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the voice's spectra, with the phases of the mixture's spectra; both (channels, N, bins) complex."""
        magnitudes = spectra.abs()
        return self(magnitudes) * torch.where(magnitudes > 0, spectra / magnitudes, 1.0)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """Return the loss, a scalar.

        Args:
            batch: mixture (B, T, F) and parts (B, T, F, 2) first; see `MixtureSampler`.
            penalty, backend: ignored.
        """
        mixture, parts = batch[:2]
        x, deviation = standardise(mixture)
        target = parts[..., 0].sqrt() / deviation
        if self.patch:
            x, target = self._patches(x, target)
        return F.mse_loss(self._network(x), target)

    def _network(self, x: Tensor) -> Tensor:
        x, skips = x[:, None], []
        for number, layer in enumerate(self.down):
            x = layer(x).relu()
            skips.append(x if number % 2 else None)
        for layer, skip in zip(self.up, reversed(skips), strict=True):
            x = layer(x if skip is None else x + skip).relu()
        return x[:, 0]

    def _patches(self, *tensors: Tensor) -> list[Tensor]:
        """Return the same patch of each tensor (B, T, F); its position depends on the item, the step and the seed."""
        batch, frames, bins = tensors[0].shape
        height, width = min(self.patch, frames), min(self.patch, bins)
        row, column, *_ = words(self.seed, self.step, torch.arange(batch), _PATCH, 0)
        rows = ((row * (frames - height + 1)) >> 32)[:, None, None] + torch.arange(height)[:, None]
        columns = ((column * (bins - width + 1)) >> 32)[:, None, None] + torch.arange(width)
        batch_index = torch.arange(batch)[:, None, None]
        return [tensor[batch_index, rows, columns] for tensor in tensors]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the square roots of magnitudes x (B, T, F), standardised by item, and their deviations (B, 1, 1)."""
    root = x.sqrt()
    centred = root - root.mean((1, 2), keepdim=True)
    deviation = centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-8)
    return centred / deviation, deviation
