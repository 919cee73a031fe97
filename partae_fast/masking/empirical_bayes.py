"""An empirical Bayes gain: the posterior mean of the Wiener gain, as a function of the power relative to the noise.

In each band, the distribution of the noise's level is estimated from noise-only audio and that of the signal's level
from the recordings, both by expectation maximisation. The gain acts as a gate if signal is rare in the band, and as a
Wiener filter if it is frequent.
"""

import functools
import itertools
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

POWERS = np.linspace(-9.0, 12.0, 127)  # logarithms of the relative power at which the gain is tabulated
ITERATIONS = 40
_NOISE = np.exp(np.linspace(math.log(0.02), math.log(60.0), 24))  # possible levels of the noise, relative to its mean
_SIGNAL = np.concatenate([[0.0], np.exp(np.linspace(math.log(0.03), math.log(3e4), 30))])
_SHAPE = 3.4  # mean^2 / variance of the power of white noise, averaged over 3 x 3, at a hop of a quarter window
_NARROW, _BANDS = 64, 12  # bands have 8 bins below bin _NARROW; above it there are _BANDS edges
_TINY = 1e-300


def band_edges(bins: int) -> NDArray[np.int64]:
    """Return the first bin of each band, and the number of bins, (bands + 1,)."""
    narrow = np.arange(0, min(bins, _NARROW), 8)
    wide = np.geomspace(_NARROW, bins, _BANDS) if bins > _NARROW else np.array([bins])
    return np.unique(np.round(np.concatenate([narrow, wide])).astype(np.int64))


def gain_tables(noise: NDArray[np.float32], mixture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each band's gain at `POWERS`, (bands, 127).

    Args:
        noise, mixture: powers relative to the noise's mean, averaged over 3 frames and 3 bins, (frames, bins).

    A band's distributions also include the nearest bins on both sides, half as many as the band has on each side.
    """
    edges, bins = band_edges(noise.shape[1]), noise.shape[1]
    tables = []
    for low, high in itertools.pairwise(edges):
        around = (high - low) // 2
        counts = [_counts(power[:, max(0, low - around) : min(bins, high + around)]) for power in (noise, mixture)]
        tables.append(_table(*counts))
    return np.array(tables, np.float32)


def bin_tables(tables: NDArray[np.float32], bins: int) -> NDArray[np.float32]:
    """Return each bin's gain at `POWERS`, interpolated between bands, with the last one repeated, (bins, 128)."""
    edges = band_edges(bins)
    place = np.interp(np.arange(bins), (edges[:-1] + edges[1:]) / 2, np.arange(len(tables)))
    below = np.floor(place).astype(np.int64)
    share = (place - below)[:, None]
    own = (tables[below] * (1 - share) + tables[np.minimum(below + 1, len(tables) - 1)] * share).astype(np.float32)
    return np.concatenate([own, own[:, -1:]], axis=1)


def _counts(power: NDArray[np.float32]) -> Array:
    """Return the share of powers that are nearest to each of `POWERS`, (127,)."""
    step = POWERS[1] - POWERS[0]
    place = np.log(np.clip(power, math.exp(POWERS[0]), math.exp(POWERS[-1])))
    nearest = np.round((place - POWERS[0]) / step).astype(np.int64)
    counts = np.bincount(nearest.ravel(), minlength=len(POWERS)).astype(np.float64)
    return counts / counts.sum()


def _table(noise: Array, mixture: Array) -> Array:
    """Return the gain at `POWERS`, (127,), from the distributions of noise and mixture; it never falls."""
    of_noise, of_both, wiener = _likelihoods()
    noise_weights = _weights(noise, of_noise)
    of_signal = np.einsum("lns,n->ls", of_both, noise_weights)
    signal_weights = _weights(mixture, of_signal)
    joint = np.einsum("lns,n,s,ns->l", of_both, noise_weights, signal_weights, wiener)
    whole = np.einsum("ls,s->l", of_signal, signal_weights)
    return np.maximum.accumulate(np.where(whole > 1e-200, joint / np.maximum(whole, _TINY), 0.0))


def _weights(counts: Array, likelihood: Array) -> Array:
    """Return the maximum-likelihood weights (levels,) of counts (powers,), by expectation maximisation."""
    weights = np.full(likelihood.shape[1], 1 / likelihood.shape[1])
    for _ in range(ITERATIONS):
        shares = likelihood * weights
        shares /= np.maximum(shares.sum(axis=1, keepdims=True), _TINY)
        weights = np.einsum("l,ln->n", counts, shares)
        weights /= weights.sum()
    return weights


@functools.cache
def _likelihoods() -> tuple[Array, Array, Array]:
    """Return densities of the log-power given the noise (127, 24) and noise and signal (127, 24, 31), and gains."""
    total = _NOISE[:, None] + _SIGNAL[None]
    return _density(_NOISE), _density(total), _SIGNAL / total


def _density(level: Array) -> Array:
    """Return the density of the logarithm of a gamma variable with mean `level`, (127, *level.shape)."""
    at = POWERS.reshape(-1, *(1,) * level.ndim)
    k = _SHAPE
    return np.exp(k * (math.log(k) - np.log(level) + at) - k * np.exp(at) / level - math.lgamma(k))
