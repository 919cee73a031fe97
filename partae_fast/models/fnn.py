"""The feed-forward networks of Grais & Plumbley 2017, one for each source of a mixture: their baseline."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import functional
from .initialisation import glorot
from .separation import SourceSeparator

HIDDEN = 3  # layers, each with as many units as there are bins
BINS = 1025


class FeedForward(nn.Module):
    """A network from a frame to a frame, with three hidden layers; all layers are rectified and have `bins` units.

    It has 4,206,600 parameters for 1025 bins, as in the paper, which shows that the paper's input is a single frame.
    Initial weights are uniform (Glorot & Bengio 2010), initial biases 0.

    Args:
        bins: of the spectrogram.
        seed, number: as for `ConvDAE`.

    >>> FeedForward(bins=33)(torch.rand(2, 1, 33)).shape
    torch.Size([2, 1, 33])
    """

    def __init__(self, bins: int = BINS, seed: int = 0, number: int = 0) -> None:
        super().__init__()
        layers = range(HIDDEN + 1)
        self.weights = nn.ParameterList(glorot((bins, bins), seed, number, layer) for layer in layers)
        self.biases = nn.ParameterList(torch.zeros(bins) for _ in layers)

    def forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """Return outputs (B, 1, bins) >= 0 of x (B, 1, bins)."""
        u = x[:, 0]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            u = functional.dense(u, weight, bias, "relu", backend=backend)
        return u[:, None]


class FeedForwardSeparator(SourceSeparator):
    """A `FeedForward` for each source of a mixture.

    Args:
        sources: names of the sources, all different.
        bins: of the spectrogram; 1025 in the paper.
        seed: of the initial weights, in [0, 2^64).

    For the attributes, see `SourceSeparator`.

    Raises UserError if an argument is out of range.

    >>> FeedForwardSeparator(["vocals", "drums"], bins=25).masks(torch.rand(40, 25)).shape
    torch.Size([2, 40, 25])
    """

    def __init__(self, sources: Sequence[str], bins: int = BINS, seed: int = 0) -> None:
        super().__init__(sources, bins, 1, seed, lambda number: FeedForward(bins, seed, number))

    @staticmethod
    def min_values(sources: Sequence[str], bins: int, **_: int) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return len(sources) * (HIDDEN + 1) * bins**2
