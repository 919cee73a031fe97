"""Nearest up-sampling, then convolution (Grais & Plumbley 2017, table 1): the decoder's layers.

    u[n, h, c]   = x[n // p, h // q, c],   0 <= n < p N,  0 <= h < q H
    out          = max(convolve(u), 0), or convolve(u) without a rectifier

with the convolution of `conv2d_pool`.
"""

import numpy as np

from .conv2d_pool import Array, activations, convolve_backward


def upsampled(x: Array, scale: tuple[int, int]) -> Array:
    """Return u (B, p N, q H, C) from x (B, N, H, C)."""
    return x.repeat(scale[0], axis=1).repeat(scale[1], axis=2)


def upsample_conv2d(x: Array, weight: Array, bias: Array, scale: tuple[int, int], relu: bool = True) -> Array:
    """Return the map (B, p N, q H, D), float64."""
    return activations(upsampled(x, scale), weight, bias, relu)


def upsample_conv2d_backward(
    grad_out: Array, x: Array, weight: Array, out: Array, scale: tuple[int, int], relu: bool = True
) -> tuple[Array, Array, Array]:
    """Return the gradients of sum(grad_out * out) with respect to x, weight and bias."""
    batch, frames, bins, channels = x.shape
    grad_z = np.where(out <= 0, 0.0, grad_out) if relu else grad_out
    grad_u, grad_weight, grad_bias = convolve_backward(grad_z, upsampled(x, scale), weight)
    copies = grad_u.reshape(batch, frames, scale[0], bins, scale[1], channels)
    return copies.sum((2, 4)), grad_weight, grad_bias
