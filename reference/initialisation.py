"""Random orthonormal filters: the weights before the first step.

The K filters of a layer, each a vector of M H numbers, are independent Gaussian vectors that Gram-Schmidt makes
orthonormal, in blocks of at most M H filters. Encoder and decoder are independent.
"""

import numpy as np

Array = np.ndarray

ENCODER, DECODER = 0, 1


def gaussian(seed: int, layer: int, block: int, length: int, count: int) -> Array:
    """Return `count` independent Gaussian vectors, the columns of (length, count), for one block of one layer."""
    return np.random.Generator(np.random.PCG64([seed, layer, block])).standard_normal((length, count))


def gram_schmidt(vectors: Array) -> Array:
    """Return orthonormal columns, each in the span of the original column and those before it."""
    basis = np.zeros_like(vectors)
    for k in range(vectors.shape[1]):
        v = vectors[:, k]
        for _ in range(2):  # a second pass removes rounding errors of the first
            v = v - basis[:, :k] @ (basis[:, :k].T @ v)
        basis[:, k] = v / np.linalg.norm(v)
    return basis


def filters(taps: int, bins: int, latents: int, seed: int, layer: int) -> Array:
    """Return the orthonormal filters (M, H, K) of one layer."""
    length = taps * bins
    blocks = [
        gram_schmidt(gaussian(seed, layer, block, length, min(length, latents - block * length)))
        for block in range(-(-latents // length))
    ]
    return np.concatenate(blocks, axis=1).reshape(taps, bins, latents)


def orthogonal(taps: int, bins: int, latents: int, seed: int) -> tuple[Array, Array]:
    """Return w_enc (M, H, K) and w_dec (M, K, H) before the first step."""
    return filters(taps, bins, latents, seed, ENCODER), filters(taps, bins, latents, seed, DECODER).transpose(0, 2, 1)
