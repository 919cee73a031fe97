"""Random initial weights."""

import numpy as np
import torch

from ..errors import UserError

_ENCODER, _DECODER = 0, 1


def orthogonal(taps: int, bins: int, latents: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return initial weights w_enc (taps, bins, latents) and w_dec (taps, latents, bins), float32.

    The filters of the encoder are random orthonormal vectors of length taps * bins, and so are those of the decoder,
    which are drawn independently. If there are more latents than taps * bins, the filters are orthonormal within each
    block of taps * bins. The computation is in float64, so machines differ at most by the rounding of a QR
    factorisation.

    Args:
        taps, bins, latents: of the network.
        seed: in [0, 2**64).

    Raises UserError if the seed is out of range.

    Stowell & Turner 2015; Saxe et al. 2014.

    >>> w_enc, w_dec = orthogonal(9, 32, 32, seed=0)
    >>> tuple(w_enc.shape), tuple(w_dec.shape)
    ((9, 32, 32), (9, 32, 32))
    """
    _check_seed(seed)
    w_enc = _filters(taps, bins, latents, seed, _ENCODER)
    w_dec = _filters(taps, bins, latents, seed, _DECODER).transpose(0, 2, 1)
    return _float32(w_enc), _float32(w_dec)


def glorot(shape: tuple[int, ...], seed: int, *layer: int) -> torch.Tensor:
    """Return initial weights, float32, uniform in +-sqrt(6 / (fan_in + fan_out)).

    The fans are inputs and outputs, each times the product of the other axes.

    Args:
        shape: (..., inputs, outputs).
        seed: in [0, 2**64).
        layer: numbers that identify the layer; layers with other numbers get other weights.

    Raises UserError if the seed is out of range.

    Glorot & Bengio 2010, equation 16.

    >>> tuple(glorot((3, 3, 1, 12), 0, 0).shape)
    (3, 3, 1, 12)
    """
    _check_seed(seed)
    *taps, inputs, outputs = shape
    limit = np.sqrt(6 / (np.prod(taps) * (inputs + outputs)))
    random = np.random.Generator(np.random.PCG64([seed, *layer]))
    return _float32(random.uniform(-limit, limit, shape))


def _filters(taps: int, bins: int, latents: int, seed: int, layer: int) -> np.ndarray:
    length = taps * bins
    blocks = []
    for block, first in enumerate(range(0, latents, length)):
        random = np.random.Generator(np.random.PCG64([seed, layer, block]))
        basis, triangle = np.linalg.qr(random.standard_normal((length, min(length, latents - first))))
        # The signs of a QR factorisation are arbitrary; a positive diagonal makes it unique and the basis uniform.
        blocks.append(basis * np.where(np.diagonal(triangle) < 0, -1.0, 1.0))
    return np.concatenate(blocks, axis=1).reshape(taps, bins, latents)


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed} is out of range; give one from 0 to 2**64 - 1")


def _float32(weights: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(weights, dtype=np.float32))
