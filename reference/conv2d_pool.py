"""Convolution in time and frequency, rectify, max-pool (Grais & Plumbley 2017, table 1): the encoder's layers.

    z[n, h, d]  = bias[d] + sum_i sum_j sum_c  weight[i, j, c, d] x[n + i - 1, h + j - 1, c],   0 <= i, j < 3
    a[n, h, d]  = max(z[n, h, d], 0), or z without a rectifier
    values[v, w, d], positions[v, w, d] = max, argmax of a over the window p v <= n < p v + p, q w <= h < q w + q

x is 0 outside the map. The filters are not flipped: this is a cross-correlation, as in deep-learning libraries. A
position is i q + j for frame i, bin j of its window. The last windows may be short. The first maximum wins. With a
rectifier, a window without a positive number has value 0, position 0 and no gradient. A NaN in a window makes its value
NaN and its position that of the first NaN; the gradient passes there.
"""

import numpy as np

Array = np.ndarray


def patches(x: Array) -> Array:
    """Return the 3 x 3 patch at each position, 0 outside the map: (B, N, H, 3, 3, C) from (B, N, H, C)."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2)), 3, 5)


def convolve(x: Array, weight: Array, bias: Array) -> Array:
    """Return z (B, N, H, D) from x (B, N, H, C), weight (3, 3, C, D) and bias (D,)."""
    return np.einsum("bnhijc,ijcd->bnhd", patches(x), weight, optimize=True) + bias


def convolve_backward(grad_z: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of sum(grad_z * z) with respect to x, weight and bias.

    d/dweight[i, j, c, d] = sum_n sum_h  grad_z[n, h, d] x[n + i - 1, h + j - 1, c]
    d/dx[n, h, c]         = sum_i sum_j sum_d  grad_z[n - i + 1, h - j + 1, d] weight[i, j, c, d]
    """
    grad_weight = np.einsum("bnhijc,bnhd->ijcd", patches(x), grad_z, optimize=True)
    grad_x = np.einsum("bnhijd,ijcd->bnhc", patches(grad_z), weight[::-1, ::-1], optimize=True)
    return grad_x, grad_weight, grad_z.sum((0, 1, 2))


def windowed(a: Array, pool: tuple[int, int]) -> Array:
    """Return the activations of each window, -inf beyond the map: (B, V, W, p q, D) from (B, N, H, D)."""
    (batch, frames, bins, filters), (p, q) = a.shape, pool
    padded = np.pad(a, ((0, 0), (0, -frames % p), (0, -bins % q), (0, 0)), constant_values=-np.inf)
    blocks = padded.reshape(batch, padded.shape[1] // p, p, padded.shape[2] // q, q, filters)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(batch, blocks.shape[1], blocks.shape[3], p * q, filters)


def activations(x: Array, weight: Array, bias: Array, relu: bool) -> Array:
    """Return a (B, N, H, D)."""
    z = convolve(x, weight, bias)
    return np.maximum(z, 0.0) if relu else z


def conv2d_pool(x: Array, weight: Array, bias: Array, pool: tuple[int, int], relu: bool = True) -> tuple[Array, Array]:
    """Return values (B, ceil(N/p), ceil(H/q), D), float64, and positions, int32 of the same shape, in [0, p q)."""
    inside = windowed(activations(x, weight, bias, relu), pool)
    positions = inside.argmax(axis=3)  # the first maximum; NaN ranks above every number
    values = np.take_along_axis(inside, positions[:, :, :, None], axis=3)[:, :, :, 0]
    return values, positions.astype(np.int32)


def conv2d_pool_backward(
    grad_values: Array,
    x: Array,
    weight: Array,
    values: Array,
    positions: Array,
    pool: tuple[int, int],
    relu: bool = True,
) -> tuple[Array, Array, Array]:
    """Return the gradients of sum(grad_values * values) with respect to x, weight and bias."""
    (batch, windows, columns, filters), (p, q) = values.shape, pool
    inside = np.zeros((batch, windows, columns, p * q, filters))
    amplitudes = np.where(values <= 0, 0.0, grad_values) if relu else grad_values
    np.put_along_axis(inside, positions[:, :, :, None].astype(np.int64), amplitudes[:, :, :, None], axis=3)
    blocks = inside.reshape(batch, windows, columns, p, q, filters).transpose(0, 1, 3, 2, 4, 5)
    grad_z = blocks.reshape(batch, windows * p, columns * q, filters)[:, : x.shape[1], : x.shape[2]]
    return convolve_backward(grad_z, x, weight)
