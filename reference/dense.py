"""A dense layer: y = dropout(activation(x @ weight + bias)), and its gradients.

Activations, of the pre-activation z, and their derivatives:

    identity      z                                   1
    relu          max(z, 0)                           0 if z <= 0, else 1
    leaky_relu    0.01 z if z <= 0, else z            0.01 or 1
    mrelu         z if z >= e, else -e / (z - 1 - e)         1 or e / (z - 1 - e)^2,   e = 1e-5

mReLU (Liu et al. 2014; Kim & Smaragdis 2015, equation 6) is continuous, e at z = e, and never 0, so that every unit
has a gradient. Dropout (Srivastava et al. 2014) is inverted: output o of item b is kept, and scaled by 1 / (1 - rate),
if word o % 4 of Philox-4x32-10 with key `seed` and counter (step, b, layer, o // 4) is at least rate * 2^32.
"""

from collections.abc import Callable

import numpy as np

from .philox import philox, seed_key

Array = np.ndarray

EPSILON = 1e-5
SLOPE = 0.01


def _below(z: Array) -> Array:
    """Return z - 1 - e, for z below e."""
    return np.minimum(z, EPSILON) - 1 - EPSILON


# Each activation and its derivative.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, lambda z: np.ones(z.shape)),
    "relu": (lambda z: np.maximum(z, 0.0), lambda z: np.where(z <= 0, 0.0, 1.0)),
    "leaky_relu": (lambda z: np.where(z <= 0, SLOPE * z, z), lambda z: np.where(z <= 0, SLOPE, 1.0)),
    "mrelu": (
        lambda z: np.where(z < EPSILON, -EPSILON / _below(z), z),
        lambda z: np.where(z < EPSILON, EPSILON / _below(z) ** 2, 1.0),
    ),
}


def dropout_factor(shape: tuple[int, ...], rate: float, seed: int, step: int, layer: int) -> Array:
    """Return the factor of each output, of `shape` (B, O): 0 or 1 / (1 - rate)."""
    item, output = np.indices(shape)
    counter = np.stack(np.broadcast_arrays(step, item, layer, output // 4), axis=-1)
    word = np.take_along_axis(philox(counter, seed_key(seed)), output[..., None] % 4, axis=-1)[..., 0]
    return (word >= min(round(rate * 2**32), 2**32 - 1)) / (1.0 - rate)


def dense(
    x: Array,
    weight: Array,
    bias: Array | None,
    activation: str = "identity",
    dropout: float = 0.0,
    seed: int = 0,
    step: int = 0,
    layer: int = 0,
) -> Array:
    """Return y (B, O) for x (B, I), weight (I, O) and bias (O,) or None."""
    z = x @ weight + (0.0 if bias is None else bias)
    kept = dropout_factor(z.shape, dropout, seed, step, layer)
    return np.where(kept > 0, ACTIVATIONS[activation][0](z) * kept, 0.0)


def dense_backward(
    grad_output: Array,
    x: Array,
    weight: Array,
    bias: Array | None,
    activation: str = "identity",
    dropout: float = 0.0,
    seed: int = 0,
    step: int = 0,
    layer: int = 0,
) -> tuple[Array, Array, Array]:
    """Return the gradients of x, weight and bias.

    The gradient passes if the output is NaN. It is 0, even for a NaN from above, if dropout or a rectifier made the
    output 0.
    """
    z = x @ weight + (0.0 if bias is None else bias)
    slope = dropout_factor(z.shape, dropout, seed, step, layer) * ACTIVATIONS[activation][1](z)
    grad_z = np.where(slope == 0, 0.0, grad_output * slope)
    return grad_z @ weight.T, x.T @ grad_z, grad_z.sum(axis=0)
