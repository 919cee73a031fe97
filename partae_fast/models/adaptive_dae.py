"""The adaptive denoising autoencoder of Kim & Smaragdis 2015: a denoiser under a network that knows clean signals."""

from __future__ import annotations

from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from .state import StatefulModel

if TYPE_CHECKING:
    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

ACTIVATION = "mrelu"  # equation 6; of every layer, the last too, for what comes out are magnitudes
HELD, THROUGH = GRADIENTS = ("held", "through")


class DenseLayers(nn.Module):
    """Dense layers one after the other, each followed by the modified rectifier, hidden ones in training by dropout.

    Weights start normal with variance 2 / inputs (He et al. 2015), biases at 0.

    Args:
        sizes: of the input, of each hidden layer and of the output.
        seed: of the weights, in [0, 2^63). first: the number of the first layer among all that are drawn for by seed.
    """

    def __init__(self, sizes: list[int], seed: int, first: int) -> None:
        super().__init__()
        self.seed, self.first = seed, first
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(_normal(*pair, seed, first + layer) for layer, pair in enumerate(pairs))
        self.biases = nn.ParameterList(torch.zeros(outputs) for _, outputs in pairs)

    def forward(self, x: Tensor, dropout: float, step: int, backend: str) -> Tensor:
        """x (B, inputs) -> (B, outputs); what is dropped is drawn anew for each step."""
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            share = dropout if layer < last else 0.0
            x = functional.dense(x, weight, bias, ACTIVATION, share, self.seed, step, self.first + layer, backend)
        return x


class AdaptiveDenoisingAutoencoder(StatefulModel):
    """Two networks of dense layers, on stacks of consecutive frames' magnitudes.

    `bottom` makes clean magnitudes of a mixture's. `top` reproduces clean magnitudes, and only clean ones well: the
    error that it makes on what the bottom network gives says how pure that is, and nothing else need be known. So the
    bottom network can go on learning on a recording that is to be denoised, with no clean signal at hand; see
    `partae_fast.training.adapt`.

    A frame's estimate is the mean of those that the stacks with it give: the paper does not say. The last layers are
    rectified as the others are.

    Args:
        bins: H, the spectrogram's bins.
        context: C, consecutive frames in a stack, odd: 1, 3 or 5 in the paper.
        hidden: units of a hidden layer. layers: hidden layers of each network, 2 for speech and 3 for singing voice.
        dropout: share of the hidden units that are dropped in training, in [0, 1). The input is never dropped.
        seed: of the weights that training starts from and of what is dropped, in [0, 2^63).

    Attributes:
        bottom, top: the networks, `DenseLayers`.
        level: buffer, the root mean square magnitude of the mixtures that it was trained on; 0 where unknown.
        purity: buffer, the top network's error on clean magnitudes over their squares; 0 where unknown.
        step: the training step's number, which decides what is dropped; a Trainer sets it.
        spectrogram, mask, backend: as those of `ConvAutoencoder`; no mask is used.

    Raises UserError where an argument is out of range.

    Kim & Smaragdis 2015, sections 2.2 and 3.

    >>> model = AdaptiveDenoisingAutoencoder(bins=33, context=3, hidden=16)
    >>> model(torch.rand(2, 100, 33)).shape
    torch.Size([2, 100, 33])
    """

    RESTORED = ("seed", "dropout")

    level: Tensor
    purity: Tensor
    pool = 1

    def __init__(
        self,
        bins: int = 513,
        context: int = 1,
        hidden: int = 2048,
        layers: int = 2,
        dropout: float = 0.2,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (("bins", bins), ("context", context), ("hidden", hidden), ("layers", layers)):
            if not isinstance(value, Integral) or not 1 <= value < 2**31:
                raise UserError(f"{name} is {value!r}; it must be a whole number, at least 1")
        if context % 2 == 0:
            raise UserError(f"context is {context}; it must be odd, as a stack has its frame in the middle")
        if not 0 <= dropout < 1:
            raise UserError(f"dropout is {dropout}; it must be from 0 up to, not including, 1")
        if not 0 <= seed < 2**63:
            raise UserError(f"seed {seed} is out of range; give one from 0 to 2**63 - 1")
        self.bins, self.context, self.hidden, self.layers = bins, context, hidden, layers
        self.dropout, self.seed, self.step = dropout, seed, 0
        self.taps = 2 * context - 1
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend = "auto"
        sizes = [context * bins, *[hidden] * layers, context * bins]
        self.bottom, self.top = DenseLayers(sizes, seed, 0), DenseLayers(sizes, seed, layers + 1)
        self.register_buffer("level", torch.zeros(()))
        self.register_buffer("purity", torch.zeros(()))

    @staticmethod
    def least_numbers(bins: int, context: int, hidden: int, **_: float) -> int:
        """How many numbers a model of such a configuration has at least."""
        return 4 * bins * context * hidden

    def config(self) -> dict[str, int | float]:
        """The arguments that construct an equal, untrained model."""
        return {
            "bins": self.bins,
            "context": self.context,
            "hidden": self.hidden,
            "layers": self.layers,
            "dropout": self.dropout,
            "seed": self.seed,
        }

    def set_extra_state(self, state: Tensor) -> None:
        super().set_extra_state(state)
        self.bottom.seed = self.top.seed = self.seed

    def forward(self, x: Tensor) -> Tensor:
        """Magnitudes of mixtures (B, N, H) -> of the clean signal (B, N, H)."""
        found = stacks(x, self.context)
        clean = self.bottom(found.flatten(0, 1), 0.0, 0, self.backend)
        return unstacked(clean.view(found.shape), self.context)

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise, (B, N, H) each: the signal's magnitudes, and what they leave of x, some of it < 0."""
        signal = self(x)
        return signal, x - signal

    def estimate(self, spectra: Tensor) -> Tensor:
        """Spectra of mixtures (channels, N, n_fft//2 + 1), complex -> of the signal, with the mixtures' phases.

        0 at frequencies that are not the model's.
        """
        if self.spectrogram is None:
            raise UserError("the model has no spectrogram; set model.spectrogram to that of its training")
        first = self.spectrogram.first
        band = spectra[..., first : first + self.bins]
        magnitude = band.abs()
        clean = self(magnitude * self.spectrogram.gain) / self.spectrogram.gain
        phase = torch.where(magnitude > 0, band / magnitude, torch.zeros_like(band))
        return F.pad(clean * phase, (first, spectra.shape[-1] - first - self.bins))

    def training_loss(self, batch: tuple[Tensor, ...], penalty: float, backend: str) -> Tensor:
        """The summed squared errors of both networks, which share no weight: each learns as if it were alone.

        Args:
            batch: magnitudes of mixtures and of their clean signals, stacks (B, C * H) each.
            penalty: of no use here. backend: of the layers.

        Kim & Smaragdis 2015, section 2.2.
        """
        mixture, clean = batch
        denoised = self.bottom(mixture, self.dropout, self.step, backend)
        reproduced = self.top(clean, self.dropout, self.step, backend)
        return (denoised - clean).square().sum() + (reproduced - clean).square().sum()

    def purity_error(self, x: Tensor, gradient: str = THROUGH, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
        """How far what the bottom network makes of a mixture is from clean: |Y - U|^2 and |Y|^2, summed over all.

        Y is the bottom network's output and U what the top network makes of that.

        Args:
            x: stacks of a mixture's magnitudes (N, C * H).
            gradient: "through" where U is a function of Y for the gradient too, "held" where it is a fixed target.
            dropout: of the bottom network's hidden units.

        Kim & Smaragdis 2015, equation 5.
        """
        y = self.bottom(x, dropout, self.step, self.backend)
        if gradient == HELD:
            with torch.no_grad():
                u = self.top(y, 0.0, 0, self.backend)
        else:
            u = self.top(y, 0.0, 0, self.backend)
        return (y - u).square().sum(), y.detach().square().sum()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def stacks(x: Tensor, context: int) -> Tensor:
    """Frames (B, N, H) -> stacks of each frame and those around it, the earliest first, (B, N, C * H).

    Beyond either end is silence.

    >>> stacks(torch.tensor([[[1.0], [2.0], [3.0]]]), 3).tolist()
    [[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]]
    """
    around = context // 2
    return stacked(F.pad(x, (0, 0, around, around)), context)


def stacked(x: Tensor, context: int) -> Tensor:
    """Frames (B, N, H) -> all stacks of `context` of them, (B, N - C + 1, C * H).

    >>> stacked(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 3).tolist()
    [[[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]]
    """
    count = x.shape[1] - context + 1
    return torch.cat([x[:, c : c + count] for c in range(context)], dim=2)


def unstacked(x: Tensor, context: int) -> Tensor:
    """Stacks (B, N, C * H) -> frames (B, N, H), each the mean of what the stacks that have it say of it.

    >>> unstacked(torch.tensor([[[9.0, 1.0, 4.0], [3.0, 4.0, 9.0]]]), 3).tolist()
    [[[2.0], [4.0]]]
    """
    items, frames, width = x.shape
    around, bins = context // 2, width // context
    total = x.new_zeros(items, frames + 2 * around, bins)
    times = x.new_zeros(frames + 2 * around, 1)
    for c in range(context):
        total[:, c : c + frames] += x[:, :, c * bins : (c + 1) * bins]
        times[c : c + frames] += 1
    inside = slice(around, around + frames)
    return total[:, inside] / times[inside]


def _normal(inputs: int, outputs: int, seed: int, layer: int) -> Tensor:
    random = np.random.Generator(np.random.PCG64([seed, layer]))
    weights = random.standard_normal((inputs, outputs), dtype=np.float32)
    return torch.from_numpy(weights * np.float32(np.sqrt(2 / inputs)))
