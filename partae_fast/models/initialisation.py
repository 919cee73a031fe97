"""Random weights: what a model's are before the first step."""

import numpy as np
import torch

from ..errors import UserError

_ENCODER, _DECODER = 0, 1


def orthogonal(taps: int, bins: int, latents: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights before the first step: w_enc (taps, bins, latents) and w_dec (taps, latents, bins), float32.

    The filters of a layer are `latents` random orthonormal vectors of length taps * bins; where there are
    more latents than that, each further taps * bins filters are a block of their own, orthonormal within.
    Encoder and decoder are drawn independently. `seed`, in [0, 2**64), decides all; float64 until the end,
    so that machines differ by no more than the rounding of a QR.

    Raises UserError where the seed is out of range.

    As Stowell & Turner 2015 start their networks, after Saxe et al. 2014.

    >>> w_enc, w_dec = orthogonal(9, 32, 32, seed=0)
    >>> tuple(w_enc.shape), tuple(w_dec.shape)
    ((9, 32, 32), (9, 32, 32))
    """
    _check_seed(seed)
    w_enc = _filters(taps, bins, latents, seed, _ENCODER)
    w_dec = _filters(taps, bins, latents, seed, _DECODER).transpose(0, 2, 1)
    return _float32(w_enc), _float32(w_dec)


def glorot(shape: tuple[int, ...], seed: int, *place: int) -> torch.Tensor:
    """Weights (..., inputs, outputs) before the first step, float32, uniform in +-sqrt(6 / (fan_in + fan_out)).

    The fans are a filter's inputs and outputs times the size of all axes before those. `seed`, in [0, 2**64), and
    `place`, the numbers that tell one layer from another, decide all.

    Raises UserError where the seed is out of range.

    Glorot & Bengio 2010, equation 16.

    >>> tuple(glorot((3, 3, 1, 12), 0, 0).shape)
    (3, 3, 1, 12)
    """
    _check_seed(seed)
    *taps, inputs, outputs = shape
    limit = np.sqrt(6 / (np.prod(taps) * (inputs + outputs)))
    random = np.random.Generator(np.random.PCG64([seed, *place]))
    return _float32(random.uniform(-limit, limit, shape))


def _filters(taps: int, bins: int, latents: int, seed: int, layer: int) -> np.ndarray:
    length = taps * bins
    blocks = []
    for block, first in enumerate(range(0, latents, length)):
        random = np.random.Generator(np.random.PCG64([seed, layer, block]))
        basis, triangle = np.linalg.qr(random.standard_normal((length, min(length, latents - first))))
        # QR leaves each sign open; with a positive diagonal the answer is unique and uniformly random.
        blocks.append(basis * np.where(np.diagonal(triangle) < 0, -1.0, 1.0))
    return np.concatenate(blocks, axis=1).reshape(taps, bins, latents)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed} is out of range; give one from 0 to 2**64 - 1")


def _float32(weights: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32))
