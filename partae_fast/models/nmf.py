"""Non-negative matrix factorisation, the baseline of Kim & Smaragdis 2015, section 2.1.

The mathematics is in `partae_fast.reference.nmf`. scikit-learn's NMF cannot hold some rows of a dictionary fixed while
it learns the others.
"""

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError

KL, EUCLIDEAN = DIVERGENCES = ("kl", "euclidean")
_TINY = 1e-12


def learn(x: Tensor, components: int, divergence: str = KL, iterations: int = 100, seed: int = 0) -> Tensor:
    """Learn a dictionary (components, H), with rows of sum 1, from magnitudes x (N, H).

    Args:
        x: (N, H) magnitudes.
        components: rows of the dictionary.
        divergence: "kl" or "euclidean".
        iterations: updates of activations and dictionary.
        seed: of their initial values.

    Raises UserError if an argument is out of range.
    """
    _, dictionary = factorise(x, x.new_zeros(0, x.shape[1]), components, divergence, iterations, seed)
    return dictionary / dictionary.sum(dim=1, keepdim=True).clamp_min(_TINY)


def separate(
    x: Tensor, speech: Tensor, noise: Tensor | int, divergence: str = KL, iterations: int = 100, seed: int = 0
) -> Tensor:
    """Return the speech in a mixture, x * (model of the speech) / (model of the mixture).

    Args:
        x: (N, H) magnitudes of the mixture.
        speech: (K, H) dictionary of speech, held fixed.
        noise: a dictionary of noise, held fixed too (supervised), or the number of rows to learn from the mixture
            (semi-supervised).
        divergence, iterations, seed: as for `learn`.

    Returns:
        (N, H) magnitudes.

    Raises UserError if an argument is out of range.

    Kim & Smaragdis 2015, section 2.1; Smaragdis, Raj & Shashanka 2007.
    """
    fixed, free = (speech, noise) if isinstance(noise, int) else (torch.cat([speech, noise]), 0)
    activations, dictionary = factorise(x, fixed, free, divergence, iterations, seed)
    count = len(speech)
    modelled_speech = activations[:, :count] @ dictionary[:count]
    return x * modelled_speech / (activations @ dictionary).clamp_min(_TINY)


def activations(x: Tensor, dictionary: Tensor, iterations: int) -> Tensor:
    """Return the activations (N, K) of magnitudes x (N, H) under a fixed dictionary (K, H), by the KL divergence.

    Both are on the CPU. All components start equal, so a frame's activations do not depend on other frames.
    """
    from . import nmf_cpu  # imported here because importing Numba is slow

    magnitudes, components = x.numpy(), dictionary.numpy()
    count = len(components)
    back = (components / (components.sum(axis=1, keepdims=True) + components.dtype.type(_TINY))).T
    start = np.repeat(magnitudes.sum(axis=1, keepdims=True) / count, count, axis=1)
    return torch.from_numpy(nmf_cpu.activations(magnitudes, components, back, start, iterations, _TINY))


def factorise(
    x: Tensor, fixed: Tensor, free: int, divergence: str, iterations: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Return activations (N, K) and a dictionary (K, H) whose product approximates x (N, H).

    Args:
        x: (N, H) magnitudes.
        fixed: (rows, H) first rows of the dictionary, held fixed.
        free: number of further rows, which are learned.
        divergence, iterations, seed: as for `learn`.

    Raises UserError if an argument is out of range.

    Lee & Seung 2001.
    """
    if divergence not in DIVERGENCES:
        raise UserError(f"divergence is {divergence!r}; it must be {' or '.join(DIVERGENCES)}")
    if free < 0 or len(fixed) + free < 1 or iterations < 1:
        raise UserError(
            f"there are {len(fixed) + free} components and {iterations} iterations; give at least 1 of each"
        )
    if x.dim() != 2 or fixed.shape[1:] != x.shape[1:]:
        raise UserError(f"magnitudes are {tuple(x.shape)} and the dictionary {tuple(fixed.shape)}; bins must agree")
    random = torch.Generator().manual_seed(seed)
    activations = _random(len(x), len(fixed) + free, random, x)
    dictionary = torch.cat([fixed, _random(free, x.shape[1], random, x)])
    for _ in range(iterations):
        activations = activations * _factor(x, activations, dictionary, divergence, of_dictionary=False)
        if free:
            factor = _factor(x, activations, dictionary, divergence, of_dictionary=True)
            dictionary = torch.cat([fixed, dictionary[len(fixed) :] * factor[len(fixed) :]])
    return activations, dictionary


def _random(rows: int, columns: int, random: torch.Generator, like: Tensor) -> Tensor:
    """Return random numbers in [0.5, 1.5); a multiplicative update would never change a 0."""
    return (torch.rand(rows, columns, generator=random) + 0.5).to(like.device, like.dtype)


def _factor(x: Tensor, activations: Tensor, dictionary: Tensor, divergence: str, of_dictionary: bool) -> Tensor:
    """Return the multiplicative update of the activations or of the dictionary."""
    if of_dictionary:
        return _factor(x.t(), dictionary.t(), activations.t(), divergence, of_dictionary=False).t()
    if divergence == EUCLIDEAN:
        return (x @ dictionary.t()) / (activations @ (dictionary @ dictionary.t()) + _TINY)
    ratio = x / (activations @ dictionary + _TINY)
    return (ratio @ dictionary.t()) / (dictionary.sum(dim=1) + _TINY)
