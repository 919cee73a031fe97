"""A dense layer: matrix product, bias, activation and dropout as one op, forward and backward.

The backward pass computes the derivative of each activation from its output, so no pre-activation is stored. If the
derivative is 0 at output 0, dropped outputs (which are 0) need no mask either.
"""

from dataclasses import dataclass

from torch import Tensor

PASSES = ("dense", "dense_backward")
ACTIVATIONS = ("identity", "relu", "mrelu", "leaky_relu")
EPSILON = 1e-5  # mrelu: z if z >= EPSILON, else -EPSILON / (z - 1 - EPSILON)   (Liu et al. 2014)
SLOPE = 0.01  # leaky_relu: SLOPE * z if z <= 0, else z


@dataclass(frozen=True)
class Dropout:
    """Inverted dropout: output o of item b is kept and scaled by 1 / (1 - rate) if its random word >= `threshold`.

    The word is number o % 4 of Philox-4x32-10 with key `seed` and counter (step, b, layer, o // 4). The mask is not
    stored: the backward pass draws the words again. rate is in [0, 1), seed in [0, 2^63), step and layer in [0, 2^32).
    The step may be a tensor of one int64 on the device of the layer, which kernels read when they run.
    """

    rate: float
    seed: int
    step: int | Tensor
    layer: int

    @property
    def scale(self) -> float:
        """Factor of the outputs that are kept."""
        return 1.0 / (1.0 - self.rate) if self.threshold else 1.0

    @property
    def threshold(self) -> int:
        """Random words below this drop their output."""
        return min(round(self.rate * 2**32), 2**32 - 1)

    def masks(self, activation: str) -> bool:
        """Return whether the backward pass must draw the mask: whether the gradient at an output of 0 is not 0."""
        return self.threshold > 0 and activation in ("identity", "leaky_relu")
