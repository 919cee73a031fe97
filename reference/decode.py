"""Decode: unpool to the stored positions, then convolve in time (Stowell & Turner 2015, section 3).

    u[n, k] = values[p, k] if n = positions[p, k], else 0
    r[n, h] = sum_m sum_k  w_dec[m, k, h] u[n + d - m, k],   d = M // 2

A filter writes back to the frames that it read, for even M too: encode's c and decode's d add to M - 1.
"""

import numpy as np

from .encode import Array, at_positions, runs


def decode(values: Array, positions: Array, w_dec: Array, frames: int) -> Array:
    """Return the reconstruction r (B, frames, H) from pooled latents (B, ceil(frames/P), K) and w_dec (M, K, H)."""
    w_dec = np.asarray(w_dec, dtype=np.float64)
    taps = w_dec.shape[0]
    u = at_positions(np.asarray(values, dtype=np.float64), positions, frames)
    return np.einsum("bnik,ikh->bnh", runs(u, taps, taps - 1 - taps // 2), w_dec[::-1], optimize=True)


def decode_backward(grad_reconstruction: Array, values: Array, positions: Array, w_dec: Array) -> tuple[Array, Array]:
    """Return the gradients of sum(grad_reconstruction * r) with respect to values and w_dec.

    d/dvalues[p, k]   = sum_m sum_h  w_dec[m, k, h] grad_r[t - d + m, h],   t = positions[p, k]
    d/dw_dec[m, k, h] = sum_p  values[p, k] grad_r[t - d + m, h]
    """
    w_dec = np.asarray(w_dec, dtype=np.float64)
    values = np.asarray(values, dtype=np.float64)
    taps = w_dec.shape[0]
    grad_r = np.asarray(grad_reconstruction, dtype=np.float64)
    under = runs(grad_r, taps, taps // 2)  # [b, t, m] is frame t - d + m
    grad_u = np.einsum("btmh,mkh->btk", under, w_dec, optimize=True)
    grad_values = np.take_along_axis(grad_u, positions.astype(np.int64), axis=1)
    u = at_positions(values, positions, grad_r.shape[1])
    return grad_values, np.einsum("btmh,btk->mkh", under, u, optimize=True)
