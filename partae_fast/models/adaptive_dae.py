"""The adaptive denoising autoencoder of Kim & Smaragdis 2015: a denoiser below an autoencoder of clean signals."""

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

ACTIVATION = "mrelu"  # equation 6; of every layer, also the last, because the outputs are magnitudes
HELD, THROUGH = GRADIENTS = ("held", "through")


class DenseLayers(nn.Module):
    """A sequence of dense layers with modified rectifiers, and dropout after the hidden layers in training.

    Initial weights are normal with variance 2 / inputs (He et al. 2015), initial biases 0.

    Args:
        sizes: of the input, of each hidden layer and of the output.
        seed: of weights and dropout, in [0, 2^63).
        first: number of the first layer; layers with the same seed and number get the same random numbers.
    """

    def __init__(self, sizes: list[int], seed: int, first: int) -> None:
        super().__init__()
        self.seed, self.first = seed, first
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(_normal(*pair, seed, first + layer) for layer, pair in enumerate(pairs))
        self.biases = nn.ParameterList(torch.zeros(outputs) for _, outputs in pairs)

    def forward(self, x: Tensor, dropout: float, step: int | Tensor, backend: str) -> Tensor:
        """Return the outputs (B, outputs) of x (B, inputs); each step drops other units."""
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            rate = dropout if layer < last else 0.0
            x = functional.dense(x, weight, bias, ACTIVATION, rate, self.seed, step, self.first + layer, backend)
        return x


class AdaptiveDenoisingAutoencoder(StatefulModel):
    """Two dense networks on stacks of consecutive frames of magnitudes.

    The network `bottom` denoises. The network `top` is an autoencoder of clean magnitudes: its reconstruction error on
    the output of `bottom` measures how clean that output is. Therefore `bottom` can adapt to a noisy recording without
    a clean signal; see `partae_fast.training.adapt`.

    The estimate of a frame is the mean of the estimates from all stacks that contain it; the paper does not describe
    this step. The output layers are rectified like the others.

    Args:
        bins: H, bins of the spectrogram.
        context: C, frames in a stack, an odd number; 1, 3 or 5 in the paper.
        hidden: units of a hidden layer.
        layers: hidden layers of each network; in the paper 2 for speech and 3 for singing.
        dropout: probability of dropping a hidden unit in training, in [0, 1).
        seed: of initial weights and dropout, in [0, 2^63).

    Attributes:
        bottom, top: the networks, `DenseLayers`.
        level: buffer, root mean square magnitude of the training mixtures; 0 if unknown.
        purity: buffer, squared error of the top network on clean magnitudes over their squares; 0 if unknown.
        step: number of the training step, which dropout depends on; set by the Trainer.
        spectrogram, mask, backend: as in `ConvAutoencoder`; the mask is not used.

    Raises UserError if an argument is out of range.

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
            raise UserError(f"context is {context}; it must be odd, so that a stack has a middle frame")
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
    def min_values(bins: int, context: int, hidden: int, **_: float) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return 4 * bins * context * hidden

    def config(self) -> dict[str, int | float]:
        """Return the arguments that construct an equal, untrained model."""
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
        """Return the clean signal's magnitudes (B, N, H) of mixtures x (B, N, H)."""
        stacks = stack_frames(x, self.context)
        clean = self.bottom(stacks.flatten(0, 1), 0.0, 0, self.backend)
        return unstack_frames(clean.view(stacks.shape), self.context)

    def separate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return signal and noise, (B, N, H) each; the noise is x minus the signal and may be negative."""
        signal = self(x)
        return signal, x - signal

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the signal's complex spectra, with the phases of the mixture.

        The estimate is 0 at frequencies outside the model's band.

        Args:
            spectra: (channels, N, n_fft // 2 + 1) complex, of the mixture.
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
        """Return half the sum of the squared errors of both networks, a scalar.

        The networks share no weights, so each learns independently of the other.

        Args:
            batch: stacks of mixtures and of their clean signals, (B, C * H) each.
            penalty: ignored.
            backend: of the layers.

        Kim & Smaragdis 2015, equations 2 and 4.
        """
        mixture, clean = batch
        denoised = self.bottom(mixture, self.dropout, self.step, backend)
        reproduced = self.top(clean, self.dropout, self.step, backend)
        return 0.5 * ((denoised - clean).square().sum() + (reproduced - clean).square().sum())

    def purity_error(
        self, x: Tensor, gradient: str = THROUGH, dropout: float = 0.0, step: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the sums |Y - U|^2 and |Y|^2; their ratio measures how clean the bottom network's output is.

        Y is the output of the bottom network and U the output of the top network on Y.

        Args:
            x: (N, C * H) stacks of a mixture's magnitudes.
            gradient: "through" to propagate the gradient through U, "held" to treat U as a fixed target.
            dropout: probability of dropping a hidden unit of the bottom network.
            step: number of the step for dropout, one int64 on the device; None for the attribute `step`. A CUDA graph
                can change the tensor.

        Kim & Smaragdis 2015, equation 5.
        """
        y = self.bottom(x, dropout, self.step if step is None else step, self.backend)
        if gradient == HELD:
            with torch.no_grad():
                u = self.top(y, 0.0, 0, self.backend)
        else:
            u = self.top(y, 0.0, 0, self.backend)
        return (y - u).square().sum(), y.detach().square().sum()

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.config().items())


def stack_frames(x: Tensor, context: int) -> Tensor:
    """Return a stack for each frame of x (B, N, H): the frames around it in order, (B, N, C * H).

    Frames beyond the ends are 0.

    >>> stack_frames(torch.tensor([[[1.0], [2.0], [3.0]]]), 3).tolist()
    [[[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 0.0]]]
    """
    around = context // 2
    return stack_inner_frames(F.pad(x, (0, 0, around, around)), context)


def stack_inner_frames(x: Tensor, context: int) -> Tensor:
    """Return the stacks that lie within x (B, N, H), (B, N - C + 1, C * H).

    >>> stack_inner_frames(torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]), 3).tolist()
    [[[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]]
    """
    count = x.shape[1] - context + 1
    return torch.cat([x[:, c : c + count] for c in range(context)], dim=2)


def unstack_frames(x: Tensor, context: int) -> Tensor:
    """Return frames (B, N, H) of stacks (B, N, C * H), each the mean over the stacks that contain it.

    >>> unstack_frames(torch.tensor([[[9.0, 1.0, 4.0], [3.0, 4.0, 9.0]]]), 3).tolist()
    [[[2.0], [4.0]]]
    """
    items, frames, width = x.shape
    around, bins = context // 2, width // context
    total = x.new_zeros(items, frames + 2 * around, bins)
    counts = x.new_zeros(frames + 2 * around, 1)
    for c in range(context):
        total[:, c : c + frames] += x[:, :, c * bins : (c + 1) * bins]
        counts[c : c + frames] += 1
    inside = slice(around, around + frames)
    return total[:, inside] / counts[inside]


def _normal(inputs: int, outputs: int, seed: int, layer: int) -> Tensor:
    random = np.random.Generator(np.random.PCG64([seed, layer]))
    weights = random.standard_normal((inputs, outputs), dtype=np.float32)
    return torch.from_numpy(weights * np.float32(np.sqrt(2 / inputs)))
