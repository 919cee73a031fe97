"""Non-negative matrix factorisation, the baseline of Kim & Smaragdis 2015, section 2.1.

The mathematics is in `partae_fast.reference.nmf`. Written here because scikit-learn has no dictionaries of which some
rows are given and some free.
"""

import torch
from torch import Tensor

from ..errors import UserError

KL, EUCLIDEAN = DIVERGENCES = ("kl", "euclidean")
_TINY = 1e-12


def learned(x: Tensor, components: int, divergence: str = KL, iterations: int = 100, seed: int = 0) -> Tensor:
    """A dictionary (components, H), rows of sum 1, of magnitudes x (N, H).

    Arguments:
        divergence: "kl" or "euclidean". iterations: updates of activations and dictionary.
        seed: of the values that both start from.

    Raises UserError where an argument is out of range.
    """
    _, dictionary = factorised(x, x.new_zeros(0, x.shape[1]), components, divergence, iterations, seed)
    return dictionary / dictionary.sum(dim=1, keepdim=True).clamp_min(_TINY)


def separated(
    x: Tensor, speech: Tensor, noise: Tensor | int, divergence: str = KL, iterations: int = 100, seed: int = 0
) -> Tensor:
    """The speech's share of a mixture's magnitudes x (N, H).

    Arguments:
        speech: its dictionary (K, H), which stays as it is.
        noise: supervised, the noise's dictionary, which stays as well; semi-supervised, how many rows are to be found
            in the mixture itself.
        divergence, iterations, seed: as for `learned`.

    Returns x * (what speech explains) / (what both explain), (N, H).

    Raises UserError where an argument is out of range.

    Kim & Smaragdis 2015, section 2.1; Smaragdis, Raj & Shashanka 2007.
    """
    given, free = (speech, noise) if isinstance(noise, int) else (torch.cat([speech, noise]), 0)
    activations, dictionary = factorised(x, given, free, divergence, iterations, seed)
    count = len(speech)
    explained = activations[:, :count] @ dictionary[:count]
    return x * explained / (activations @ dictionary).clamp_min(_TINY)


def factorised(
    x: Tensor, given: Tensor, free: int, divergence: str, iterations: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Activations (N, K) and dictionary (K, H), whose product is near x (N, H); the first rows of it are `given`.

    Lee & Seung 2001.
    """
    if divergence not in DIVERGENCES:
        raise UserError(f"divergence is {divergence!r}; it must be {' or '.join(DIVERGENCES)}")
    if free < 0 or len(given) + free < 1 or iterations < 1:
        raise UserError(
            f"{len(given) + free} components and {iterations} iterations were asked for; give one or more of each"
        )
    if x.dim() != 2 or given.shape[1:] != x.shape[1:]:
        raise UserError(f"magnitudes are {tuple(x.shape)} and the dictionary {tuple(given.shape)}; bins must agree")
    random = torch.Generator().manual_seed(seed)
    activations = _random(len(x), len(given) + free, random, x)
    dictionary = torch.cat([given, _random(free, x.shape[1], random, x)])
    for _ in range(iterations):
        activations = activations * _factor(x, activations, dictionary, divergence, of_dictionary=False)
        if free:
            factor = _factor(x, activations, dictionary, divergence, of_dictionary=True)
            dictionary = torch.cat([given, dictionary[len(given) :] * factor[len(given) :]])
    return activations, dictionary


def _random(rows: int, columns: int, random: torch.Generator, like: Tensor) -> Tensor:
    """Numbers in [0.5, 1.5): with a 0 an update would end."""
    return (torch.rand(rows, columns, generator=random) + 0.5).to(like.device, like.dtype)


def _factor(x: Tensor, activations: Tensor, dictionary: Tensor, divergence: str, of_dictionary: bool) -> Tensor:
    if of_dictionary:
        return _factor(x.t(), dictionary.t(), activations.t(), divergence, of_dictionary=False).t()
    if divergence == EUCLIDEAN:
        return (x @ dictionary.t()) / (activations @ (dictionary @ dictionary.t()) + _TINY)
    ratio = x / (activations @ dictionary + _TINY)
    return (ratio @ dictionary.t()) / (dictionary.sum(dim=1) + _TINY)
