"""Encode (Stowell & Turner 2015, section 3): normalise, convolve in time and fully in frequency, rectify, max-pool.

    xn[n, h]   = (x[n, h] - mean[h]) / std[h], and 0 outside the recording
    z[n, k]    = sum_m sum_h  w_enc[m, h, k] xn[n + c - m, h],   c = (M - 1) // 2
    a[n, k]    = max(z[n, k], s z[n, k]),   0 <= s < 1 (negative_slope)
    values[p, k], positions[p, k] = max, argmax of a[n, k] over n in window p: p P <= n < min((p + 1) P, N)

The first maximum wins. In the paper s is 0: a window without a positive value then has value 0, the position of its
first frame, and no gradient. With s > 0 it has its largest z scaled by s, and its gradient is scaled likewise. A NaN in
a window makes its value NaN and its position that of the first NaN; the gradient passes there.
"""

import numpy as np

Array = np.ndarray


def normalise(x: Array, mean: Array | None, std: Array | None) -> Array:
    """Return (x - mean) / std, for x (B, N, H) and mean, std (H,) or None."""
    x = np.asarray(x, dtype=np.float64)
    return x if mean is None or std is None else (x - mean) / std


def runs(frames: Array, taps: int, before: int) -> Array:
    """Return the `taps` frames under a filter at each frame: (B, N, taps, H) from (B, N, H).

    Entry [b, n, i] is frame n - before + i of item b, and 0 outside the recording.
    """
    after = taps - 1 - before
    padded = np.pad(frames, ((0, 0), (before, after), (0, 0)))
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(padded, taps, axis=1), -1, 2)


def convolve(xn: Array, w_enc: Array) -> Array:
    """Return z (B, N, K) from normalised xn (B, N, H) and w_enc (M, H, K)."""
    taps = w_enc.shape[0]
    before = taps - 1 - (taps - 1) // 2  # the run under frame n starts at n + c - (M - 1)
    return np.einsum("bnih,ihk->bnk", runs(xn, taps, before), w_enc[::-1], optimize=True)


def activations(x: Array, w_enc: Array, mean: Array | None, std: Array | None, negative_slope: float) -> Array:
    """Return a (B, N, K)."""
    z = convolve(normalise(x, mean, std), np.asarray(w_enc, dtype=np.float64))
    return np.maximum(z, negative_slope * z if negative_slope else 0.0)


def encode(
    x: Array, w_enc: Array, pool: int, mean: Array | None = None, std: Array | None = None, negative_slope: float = 0.0
) -> tuple[Array, Array]:
    """Return values (B, ceil(N/P), K), float64, and positions, their frames, int32 of the same shape."""
    a = activations(x, w_enc, mean, std, negative_slope)
    batch, frames, latents = a.shape
    windows = -(-frames // pool)
    padded = np.pad(a, ((0, 0), (0, windows * pool - frames), (0, 0)), constant_values=-np.inf)
    windowed = padded.reshape(batch, windows, pool, latents)
    inside = windowed.argmax(axis=2)  # the first maximum; NaN ranks above every number
    values = np.take_along_axis(windowed, inside[:, :, None], axis=2)[:, :, 0]
    positions = inside + pool * np.arange(windows)[None, :, None]
    return values, positions.astype(np.int32)


def values_at(
    x: Array,
    w_enc: Array,
    positions: Array,
    mean: Array | None = None,
    std: Array | None = None,
    negative_slope: float = 0.0,
) -> Array:
    """Return the rectified activations at `positions`, (B, ceil(N/P), K), instead of the maximum of each window."""
    return np.take_along_axis(activations(x, w_enc, mean, std, negative_slope), positions.astype(np.int64), axis=1)


def at_positions(values: Array, positions: Array, frames: int) -> Array:
    """Return the unpooled latents u (B, N, K): values at their positions, and 0 elsewhere."""
    batch, _, latents = values.shape
    u = np.zeros((batch, frames, latents))
    b = np.arange(batch)[:, None, None]
    k = np.arange(latents)[None, None, :]
    np.add.at(u, (b, positions, k), values)
    return u


def encode_backward(
    grad_values: Array,
    x: Array,
    w_enc: Array,
    values: Array,
    positions: Array,
    pool: int,
    mean: Array | None = None,
    std: Array | None = None,
    negative_slope: float = 0.0,
) -> tuple[Array, Array]:
    """Return the gradients of sum(grad_values * values) with respect to x (B, N, H) and w_enc (M, H, K).

    With g[n, k] the gradient at the pooled positions, times s where the value is 0 or below, and 0 elsewhere (if s is
    0, g is 0 there even where the gradient is NaN):
        d/dw_enc[m, h, k] = sum_n g[n, k] xn[n + c - m, h]
        d/dx[j, h]        = sum_m sum_k g[j - c + m, k] w_enc[m, h, k] / std[h]
    """
    w_enc = np.asarray(w_enc, dtype=np.float64)
    xn = normalise(x, mean, std)
    taps = w_enc.shape[0]
    c = (taps - 1) // 2
    below = negative_slope * np.asarray(grad_values) if negative_slope else 0.0
    g = at_positions(np.where(values <= 0, below, grad_values), positions, xn.shape[1])
    grad_w = np.einsum("bnih,bnk->ihk", runs(xn, taps, taps - 1 - c), g, optimize=True)[::-1]
    grad_x = np.einsum("bjmk,mhk->bjh", runs(g, taps, c), w_enc, optimize=True)
    return (grad_x if std is None else grad_x / std), grad_w
