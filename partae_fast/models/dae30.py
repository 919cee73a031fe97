"""DAE-30: thirty convolutional layers with skips, the plain denoiser that Hetherly et al. 2018 compare with."""

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

LAYERS, TAPS = 15, 5  # convolutions, and as many transposed ones; taps either way
_LAST_SCALE, _LAST_BIAS = 0.01, 0.5  # of the last layer before the first step
_PATCH = 2  # group, the third word of a counter, of the places of patches; the sampler has 0 and 1


class DAE30(StatefulModel):
    """Fifteen convolutional and fifteen transposed convolutional layers of 5x5, ReLU behind each.

    Every second convolution's output is added to what enters its mirror image among the transposed ones (after Mao,
    Shen & Yang 2016). In go the roots of a recording's magnitudes less their mean, over
    their deviation, both of the whole recording; out come the roots of the voice's over that deviation.

    The loss is the mean squared error of the latter. At full size a mixture of 2 s costs some 2.8 TFLOP a step.

    Args:
        filters: of each layer; 128 in the paper. bins: of the spectrogram.
        patch: frames and bins of the patch of each item that is trained on; 0 for whole items.
        seed: of the weights before the first step, and of the places of patches.

    Attributes:
        spectrogram: how recordings become input; None until set, saved with the model. mask: None.
        pool, taps: 1. whole: True, for mean and deviation are of a whole recording.

    Raises UserError where an argument is out of range.

    >>> DAE30(filters=2, bins=9)(torch.rand(1, 6, 9)).shape
    torch.Size([1, 6, 9])
    """

    RESTORED = ("seed", "patch")

    def __init__(self, filters: int = 128, bins: int = 257, patch: int = 0, seed: int = 0) -> None:
        super().__init__()
        for name, value, least in (("filters", filters, 1), ("bins", bins, 1), ("patch", patch, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**16:
                raise UserError(f"{name} is {value!r}; it must be a whole number, from {least} to 65535")
        self.filters, self.bins, self.patch, self.seed = filters, bins, patch, seed
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps, self.whole, self.step = "auto", 1, 1, True, 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            around = TAPS // 2
            self.down = nn.ModuleList(
                nn.Conv2d(filters if number else 1, filters, TAPS, padding=around) for number in range(LAYERS)
            )
            self.up = nn.ModuleList(
                nn.ConvTranspose2d(filters, filters if number < LAYERS - 1 else 1, TAPS, padding=around)
                for number in range(LAYERS)
            )
            for layer in (*self.down, *self.up):
                nn.init.kaiming_normal_(layer.get_parameter("weight"), nonlinearity="relu")
                nn.init.zeros_(layer.get_parameter("bias"))
            # The last rectifier begins open, at about what a voice's points are on the whole: where it is shut it
            # passes no gradient, and sums of seven skips would shut it nearly everywhere in the first steps.
            self.up[-1].get_parameter("weight").data *= _LAST_SCALE
            nn.init.constant_(self.up[-1].get_parameter("bias"), _LAST_BIAS)

    @staticmethod
    def least_numbers(filters: int = 128, **_: Any) -> int:
        """How many numbers a model of such a configuration has at least."""
        return 2 * (LAYERS - 1) * TAPS**2 * filters**2

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal, untrained model."""
        return {"filters": self.filters, "bins": self.bins, "patch": self.patch, "seed": self.seed}

    def forward(self, x: Tensor) -> Tensor:
        """The voice's magnitudes (B, T, F), >= 0, of a mixture's x (B, T, F)."""
        heard, deviation = standardised(x)
        return (self._root(heard) * deviation).square()

    def masks(self, x: Tensor) -> Tensor:
        """The shares of voice and noise, (B, N, bins, 2), of magnitudes x (B, N, bins).

        The voice's is what `forward` makes of x over x, at most 1; the noise's is the rest.
        """
        voice = (self(x) / x.clamp_min(1e-12)).clamp_max(1)
        return torch.stack([voice, 1 - voice], dim=-1)

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Into voice and noise by `masks`; UserError for a step, and for a count other than 2."""
        return voice_and_noise(self.masks, step, count, whole=True)

    def estimate(self, spectra: Tensor) -> Tensor:
        """The voice's spectra of recordings' spectra, both (channels, N, bins) complex; phases are the recordings'."""
        size = spectra.abs()
        return self(size) * torch.where(size > 0, spectra / size, 1.0)

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The loss of a `MixtureSampler`'s mixture (B, T, F) and parts (B, T, F, 2), a scalar; nothing is penalised."""
        mixture, parts = batch[:2]
        heard, deviation = standardised(mixture)
        wanted = parts[..., 0].sqrt() / deviation
        if self.patch:
            heard, wanted = self._patches(heard, wanted)
        return F.mse_loss(self._root(heard), wanted)

    def _root(self, x: Tensor) -> Tensor:
        x, passed = x[:, None], []
        for number, layer in enumerate(self.down):
            x = layer(x).relu()
            passed.append(x if number % 2 else None)
        for layer, skip in zip(self.up, reversed(passed), strict=True):
            x = layer(x if skip is None else x + skip).relu()
        return x[:, 0]

    def _patches(self, *items: Tensor) -> list[Tensor]:
        """The same patch of each of (B, T, F), at a place of every item's own that the step and the seed decide."""
        batch, frames, bins = items[0].shape
        height, width = min(self.patch, frames), min(self.patch, bins)
        row, column, *_ = words(self.seed, self.step, torch.arange(batch), _PATCH, 0)
        rows = ((row * (frames - height + 1)) >> 32)[:, None, None] + torch.arange(height)[:, None]
        columns = ((column * (bins - width + 1)) >> 32)[:, None, None] + torch.arange(width)
        which = torch.arange(batch)[:, None, None]
        return [item[which, rows, columns] for item in items]

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def standardised(x: Tensor) -> tuple[Tensor, Tensor]:
    """Roots of magnitudes x (B, T, F) less their mean, over their deviation, by item; and that deviation (B, 1, 1)."""
    root = x.sqrt()
    centred = root - root.mean((1, 2), keepdim=True)
    deviation = centred.square().mean((1, 2), keepdim=True).sqrt().clamp_min(1e-8)
    return centred / deviation, deviation
