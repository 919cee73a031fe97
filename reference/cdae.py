"""One network of Grais & Plumbley 2017, convolutional (table 1) or feed-forward; and the masks of their equation 2.

convolutional   six layers of `conv2d_pool`, then two of `upsample_conv2d`, all 3x3 and rectified, of a map with one
                channel; weights (3, 3, C, D), biases (D,)
feed-forward    four layers of `dense`, rectified, of a frame; weights (I, O), biases (O,)
loss            mean of (output - target)^2 over items, frames and bins
mask_i          estimate_i / sum_j estimate_j, or 1 / sources if all estimates are 0
"""

import numpy as np

from . import conv2d_pool, dense, upsample_conv2d

Array = np.ndarray
Layer = tuple[Array, Array]  # weight, bias

POOLS = ((3, 5), (1, 5), (1, 1), (1, 1), (1, 1), (1, 1))
SCALES = ((1, 5), (3, 5))


def convolutional(x: Array, layers: list[Layer]) -> Array:
    """Return the output (B, N, H) for maps x (B, N, H), N a multiple of 3 and H of 25."""
    return _convolutional(x, layers)[-1][..., 0]


def convolutional_backward(grad_output: Array, x: Array, layers: list[Layer]) -> list[Layer]:
    """Return the gradients of sum(grad_output * output) with respect to each layer's weight and bias."""
    maps, gradients = _convolutional(x, layers), []
    gradient = grad_output[..., None]
    for number in reversed(range(len(layers))):
        u, out, (weight, bias) = maps[number], maps[number + 1], layers[number]
        if number < len(POOLS):
            values, positions = conv2d_pool.conv2d_pool(u, weight, bias, POOLS[number])
            backward = conv2d_pool.conv2d_pool_backward(gradient, u, weight, values, positions, POOLS[number])
        else:
            scale = SCALES[number - len(POOLS)]
            backward = upsample_conv2d.upsample_conv2d_backward(gradient, u, weight, out, scale)
        gradient, *weight_and_bias = backward
        gradients.append((weight_and_bias[0], weight_and_bias[1]))
    return gradients[::-1]


def feed_forward(x: Array, layers: list[Layer]) -> Array:
    """Return the output (B, H) for frames x (B, H)."""
    return _feed_forward(x, layers)[-1]


def feed_forward_backward(grad_output: Array, x: Array, layers: list[Layer]) -> list[Layer]:
    """Return the gradients of sum(grad_output * output) with respect to each layer's weight and bias."""
    inputs, gradients = _feed_forward(x, layers), []
    gradient = grad_output
    for u, (weight, bias) in zip(inputs[-2::-1], layers[::-1], strict=True):
        gradient, *weight_and_bias = dense.dense_backward(gradient, u, weight, bias, "relu")
        gradients.append((weight_and_bias[0], weight_and_bias[1]))
    return gradients[::-1]


def loss(output: Array, target: Array) -> tuple[float, Array]:
    """Return the mean squared error and its gradient with respect to the output."""
    error = output - target
    return float(np.mean(error**2)), 2.0 * error / error.size


def ratio_masks(estimates: Array) -> Array:
    """Return masks (sources, ...) of estimates (sources, ...) >= 0, by equation 2."""
    total = estimates.sum(0)
    return np.where(total > 0, estimates / np.where(total > 0, total, 1.0), 1.0 / len(estimates))


def _convolutional(x: Array, layers: list[Layer]) -> list[Array]:
    """Return the input of each layer and the output of the last."""
    maps = [x[..., None]]
    for (weight, bias), pool in zip(layers[: len(POOLS)], POOLS, strict=True):
        maps.append(conv2d_pool.conv2d_pool(maps[-1], weight, bias, pool)[0])
    for (weight, bias), scale in zip(layers[len(POOLS) :], SCALES, strict=True):
        maps.append(upsample_conv2d.upsample_conv2d(maps[-1], weight, bias, scale))
    return maps


def _feed_forward(x: Array, layers: list[Layer]) -> list[Array]:
    """Return the input of each layer and the output of the last."""
    inputs = [x]
    for weight, bias in layers:
        inputs.append(dense.dense(inputs[-1], weight, bias, "relu"))
    return inputs
