"""The convolutional denoising autoencoders of Grais & Plumbley 2017, one for each source of a mixture."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import functional
from ..errors import UserError
from .initialisation import glorot
from .separation import SourceSeparator

# Table 1: filters of 3 frames and 3 bins in each layer, and the (frames, bins) by which its output is pooled, or by
# which its input is up-sampled.
ENCODER = ((12, (3, 5)), (20, (1, 5)), (30, (1, 1)), (40, (1, 1)), (30, (1, 1)), (20, (1, 1)))
DECODER = ((12, (1, 5)), (1, (3, 5)))
FRAMES, BINS = 15, 1025
# A map that these do not divide does not come out at its size.
_FRAMES_POOLED, _BINS_POOLED = 3, 25


class ConvDAE(nn.Module):
    """The network of table 1: 3x3 convolutions, rectified, the last too; max-pooled twice and up-sampled twice.

    37,101 parameters, whatever the size of the map. Weights start uniform (Glorot & Bengio 2010), biases at 0; the last
    layer's weights start positive, for a rectified output that is 0 everywhere would never learn.

    Args:
        seed, number: of the weights; networks of different numbers start from different ones.

    >>> ConvDAE()(torch.rand(2, 15, 1025)).shape
    torch.Size([2, 15, 1025])
    """

    def __init__(self, seed: int = 0, number: int = 0) -> None:
        super().__init__()
        outputs = [filters for filters, _ in (*ENCODER, *DECODER)]
        shapes = [(3, 3, *pair) for pair in zip([1, *outputs[:-1]], outputs, strict=True)]
        drawn = [glorot(shape, seed, number, layer) for layer, shape in enumerate(shapes)]
        drawn[-1].abs_()
        self.weights = nn.ParameterList(drawn)
        self.biases = nn.ParameterList(torch.zeros(count) for count in outputs)

    def forward(self, x: Tensor, backend: str = "auto") -> Tensor:
        """x (B, frames, bins) -> (B, frames, bins), >= 0; frames a multiple of 3, bins of 25."""
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
        sources: the sources' names, all different.
        bins: of the spectrogram, a multiple of 25; 1025 in the paper, those of 2048 samples.
        frames: in a segment, a multiple of 3; 15 in the paper.
        seed: of the weights that training starts from, in [0, 2^64).

    Attributes are those of `SourceSeparator`. Raises UserError where an argument is out of range.

    >>> model = ConvDAESeparator(["vocals", "drums"], bins=25)
    >>> model.masks(torch.rand(40, 25)).shape
    torch.Size([2, 40, 25])
    """

    def __init__(self, sources: Sequence[str], bins: int = BINS, frames: int = FRAMES, seed: int = 0) -> None:
        super().__init__(sources, bins, frames, seed, lambda number: ConvDAE(seed, number))
        for name, value, pooled in (("bins", bins, _BINS_POOLED), ("frames", frames, _FRAMES_POOLED)):
            if value % pooled:
                raise UserError(f"{name} is {value}; pooling divides it by {pooled}, so give a multiple of that")

    @staticmethod
    def least_numbers(sources: Sequence[str], **_: int) -> int:
        """How many numbers a model of such a configuration has at least."""
        return len(sources) * sum(9 * filters for filters, _ in (*ENCODER, *DECODER))

    def config(self) -> dict[str, int | list[str]]:
        """The arguments that construct an equal, untrained model."""
        return {**super().config(), "frames": self.frames}
