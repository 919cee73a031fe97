"""The convolutional denoising autoencoders of Grais & Plumbley 2017, one for each source of a mixture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from .initialisation import glorot
from .separation import SourceSeparator

# Table 1: filters of each 3 x 3 layer, and the (frames, bins) over which an encoder layer pools its output, or by which
# a decoder layer up-samples its input.
ENCODER = ((12, (3, 5)), (20, (1, 5)), (30, (1, 1)), (40, (1, 1)), (30, (1, 1)), (20, (1, 1)))
DECODER = ((12, (1, 5)), (1, (3, 5)))
FRAMES, BINS = 15, 1025
# Products of the pooling factors; they must divide the input, so that the output has the same size.
_FRAMES_POOLED, _BINS_POOLED = 3, 25


class ConvDAE(nn.Module):
    """The network of table 1: rectified 3x3 convolutions with two max-pooling and two up-sampling layers.

    It has 37,101 parameters. Initial weights are uniform (Glorot & Bengio 2010), initial biases 0. The initial weights
    of the last layer are positive, because its output is rectified and would not learn if it were 0 everywhere.

    Args:
        seed, number: of the initial weights; networks with different numbers get different weights.

    >>> ConvDAE()(torch.rand(2, 15, 1025)).shape
    torch.Size([2, 15, 1025])
    """

    def __init__(self, seed: int = 0, number: int = 0) -> None:
        super().__init__()
        outputs = [filters for filters, _ in (*ENCODER, *DECODER)]
        shapes = [(3, 3, *pair) for pair in zip([1, *outputs[:-1]], outputs, strict=True)]
        initial = [glorot(shape, seed, number, layer) for layer, shape in enumerate(shapes)]
        initial[-1].abs_()
        self.weights = nn.ParameterList(initial)
        self.biases = nn.ParameterList(torch.zeros(count) for count in outputs)

    def forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """Return outputs (B, frames, bins) >= 0 of x (B, frames, bins); frames and bins are multiples of 3 and 25."""
        u = x[..., None]
        layers = list(zip(self.weights, self.biases, strict=True))
        for (weight, bias), (_, pool) in zip(layers[: len(ENCODER)], ENCODER, strict=True):
            u, _ = functional.conv2d_pool(u, weight, bias, pool, backend=backend)
        for (weight, bias), (_, scale) in zip(layers[len(ENCODER) :], DECODER, strict=True):
            u = functional.upsample_conv2d(u, weight, bias, scale, backend=backend)
        return u[..., 0]


class ConvDAESeparator(SourceSeparator):
    """A `ConvDAE` for each source of a mixture.

    Args:
        sources: names of the sources, all different.
        bins: of the spectrogram, a multiple of 25; 1025 in the paper, for windows of 2048 samples.
        frames: per segment, a multiple of 3; 15 in the paper.
        seed: of the initial weights, in [0, 2^64).

    For the attributes, see `SourceSeparator`.

    Raises UserError if an argument is out of range.

    >>> model = ConvDAESeparator(["vocals", "drums"], bins=25)
    >>> model.masks(torch.rand(40, 25)).shape
    torch.Size([2, 40, 25])
    """

    def __init__(self, sources: Sequence[str], bins: int = BINS, frames: int = FRAMES, seed: int = 0) -> None:
        super().__init__(sources, bins, frames, seed, lambda number: ConvDAE(seed, number))
        for name, value, pooled in (("bins", bins, _BINS_POOLED), ("frames", frames, _FRAMES_POOLED)):
            if value % pooled:
                raise UserError(
                    f"{name} is {value}; it must be a multiple of {pooled}, the product of the pooling factors"
                )

    @staticmethod
    def min_values(sources: Sequence[str], **_: int) -> int:
        """Return a lower bound on the number of values that a model of this configuration stores."""
        return len(sources) * sum(9 * filters for filters, _ in (*ENCODER, *DECODER))

    def config(self) -> dict[str, int | list[str]]:
        """Return the arguments that construct an equal, untrained model."""
        return {**super().config(), "frames": self.frames}
