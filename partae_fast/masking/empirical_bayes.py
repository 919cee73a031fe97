"""A gain for each power over the noise's, learned from how often such powers occur in the recordings and in noise.

In each band the levels of the noise and of the signal have a distribution each. That of the noise is estimated from
noise-only audio, that of the signal from the recordings, both by expectation maximisation; the gain is the mean of the
Wiener gain over what may have made the power. It is a gate where the signal is rare, and a Wiener filter where it is
not.
"""

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POWERS = np.linspace(-9.0, 12.0, 127)  # logarithms of the power over the noise's at which the gain is tabulated
ITERATIONS = 40
_NOISE = np.exp(np.linspace(math.log(0.02), math.log(60.0), 24))  # levels that the noise may have
_SIGNAL = np.concatenate([[0.0], np.exp(np.linspace(math.log(0.03), math.log(3e4), 30))])
_SHAPE = 3.4  # of the gamma distribution that means over 3 x 3 have at a hop of a quarter: mean^2 / variance
_NARROW, _BANDS = 64, 12  # bins below which a band has 8 of them, and edges above
_TINY = 1e-300


def band_edges(bins: int) -> NDArray[np.int64]:
    """The edges of the bands that have a gain of their own, (bands + 1,)."""
    narrow = np.arange(0, min(bins, _NARROW), 8)
    wide = np.geomspace(_NARROW, bins, _BANDS) if bins > _NARROW else np.array([bins])
    return np.unique(np.round(np.concatenate([narrow, wide])).astype(np.int64))


def gain_tables(noise: NDArray[np.float32], mixture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each band's gain at `POWERS`, (bands, 127), from powers over the noise's mean, (frames, bins) each.

    Both are means over 3 frames and 3 bins. A band's distributions are of its bins and half as many on either side.
    """
    edges, bins = band_edges(noise.shape[1]), noise.shape[1]
    tables = []
    for low, high in itertools.pairwise(edges):
        around = (high - low) // 2
        counts = [_counts(power[:, max(0, low - around) : min(bins, high + around)]) for power in (noise, mixture)]
        tables.append(_table(*counts))
    return np.array(tables, np.float32)


def tabulated_gain(power: NDArray[np.float32], tables: NDArray[np.float32]) -> NDArray[np.float32]:
    """The gain of each power over the noise's, (frames, bins), linear between powers and between the bands' tables."""
    bins = power.shape[1]
    edges = band_edges(bins)
    place = np.interp(np.arange(bins), (edges[:-1] + edges[1:]) / 2, np.arange(len(tables)))
    below = np.floor(place).astype(np.int64)
    share = (place - below)[:, None]
    own = (tables[below] * (1 - share) + tables[np.minimum(below + 1, len(tables) - 1)] * share).astype(np.float32)
    # Row after row of one array, the last of each row twice: that is faster to read than pairs of indices.
    flat = np.concatenate([own, own[:, -1:]], axis=1).ravel()
    rows = np.arange(bins, dtype=np.int32) * np.int32(len(POWERS) + 1)
    at = np.log(np.maximum(power, np.float32(math.exp(POWERS[0])))).astype(np.float32, copy=False)
    at -= np.float32(POWERS[0])
    at *= np.float32(1 / (POWERS[1] - POWERS[0]))
    np.minimum(at, np.float32(len(POWERS) - 1), out=at)
    left = at.astype(np.int32)
    at -= left
    left += rows
    gain = np.take(flat, left)
    left += 1
    gain += at * (np.take(flat, left) - gain)
    return gain


def _counts(power: NDArray[np.float32]) -> Array:
    """The share of the powers nearest to each of `POWERS`, (127,)."""
    step = POWERS[1] - POWERS[0]
    place = np.log(np.clip(power, math.exp(POWERS[0]), math.exp(POWERS[-1])))
    nearest = np.round((place - POWERS[0]) / step).astype(np.int64)
    counts = np.bincount(nearest.ravel(), minlength=len(POWERS)).astype(np.float64)
    return counts / counts.sum()


def _table(noise: Array, mixture: Array) -> Array:
    """The gain at `POWERS`, (127,), of both distributions; it rises with the power."""
    of_noise, of_both, wiener = _likelihoods()
    noise_weights = _weights(noise, of_noise)
    of_signal = np.einsum("lns,n->ls", of_both, noise_weights)
    signal_weights = _weights(mixture, of_signal)
    joint = np.einsum("lns,n,s,ns->l", of_both, noise_weights, signal_weights, wiener)
    whole = np.einsum("ls,s->l", of_signal, signal_weights)
    return np.maximum.accumulate(np.where(whole > 1e-200, joint / np.maximum(whole, _TINY), 0.0))


def _weights(counts: Array, likelihood: Array) -> Array:
    """The weights (levels,) that make the counts (powers,) likely, by expectation maximisation."""
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(ITERATIONS):
        shares = likelihood * weights
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), _TINY)
        weights = np.einsum("l,ln->n", counts, shares)
        weights /= weights.sum()
    return weights


@functools.cache
def _likelihoods() -> tuple[Array, Array, Array]:
    """Densities of the log-power at noise levels (127, 24), at noise and signal levels (127, 24, 31); Wiener gains."""
    total = _NOISE[:, None] + _SIGNAL[None]
    return _density(_NOISE), _density(total), _SIGNAL / total


def _density(level: Array) -> Array:
    """The density of the logarithm of a gamma variable of such a mean, at `POWERS`, (127, *level.shape)."""
    at = POWERS.reshape(-1, *(1,) * level.ndim)
    k = _SHAPE
    return np.exp(k * (math.log(k) - np.log(level) + at) - k * np.exp(at) / level - math.lgamma(k))
