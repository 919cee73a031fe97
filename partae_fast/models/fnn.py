"""The feed-forward networks that Grais & Plumbley 2017 compare theirs with, one for each source of a mixture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import functional
from .initialisation import glorot
from .separation import SourceSeparator

HIDDEN = 3  # layers, each of as many units as there are bins
BINS = 1025


class FeedForward(nn.Module):
    """Three hidden layers, all layers as wide as the spectrogram and rectified; one frame in, one frame out.

    4,206,600 parameters for 1025 bins: that count tells that the paper's networks see single frames. Weights start
    uniform (Glorot & Bengio 2010), biases at 0.

    Args:
        bins: of the spectrogram. seed, number: as for `ConvDAE`.

    >>> FeedForward(bins=33)(torch.rand(2, 1, 33)).shape
    torch.Size([2, 1, 33])
    """

    def __init__(self, bins: int = BINS, seed: int = 0, number: int = 0) -> None:
        super().__init__()
        layers = range(HIDDEN + 1)
        self.weights = nn.ParameterList(glorot((bins, bins), seed, number, layer) for layer in layers)
        self.biases = nn.ParameterList(torch.zeros(bins) for _ in layers)

    def forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """x (B, 1, bins) -> (B, 1, bins), >= 0."""
        u = x[:, 0]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            u = functional.dense(u, weight, bias, "relu", backend=backend)
        return u[:, None]


class FeedForwardSeparator(SourceSeparator):
    """A `FeedForward` for each source of a mixture.

    Args:
        sources: the sources' names, all different. bins: of the spectrogram; 1025 in the paper.
        seed: of the weights that training starts from, in [0, 2^64).

    Attributes are those of `SourceSeparator`. Raises UserError where an argument is out of range.

    >>> FeedForwardSeparator(["vocals", "drums"], bins=25).masks(torch.rand(40, 25)).shape
    torch.Size([2, 40, 25])
    """

    def __init__(self, sources: Sequence[str], bins: int = BINS, seed: int = 0) -> None:
        super().__init__(sources, bins, 1, seed, lambda number: FeedForward(bins, seed, number))

    @staticmethod
    def least_numbers(sources: Sequence[str], bins: int, **_: int) -> int:
        """How many numbers a model of such a configuration has at least."""
        return len(sources) * (HIDDEN + 1) * bins**2
