"""How nearest up-sampling meets a filter of three taps, for every back-end.

Nearest up-sampling by p leaves three kinds of places along an axis: the first of a repeat reads the number before and
its own, the last its own and the one after, and all between only its own. Taps that read one number are summed
beforehand, and what is equal between them is computed once.
"""

import torch
from torch import Tensor


def phases(factor: int) -> list[tuple[int, int, int, int]]:
    """(first, span, copies, place) of each kind of place in a repeat of `factor`.

    It reads the numbers first, first + 1, ... first + span - 1, counted from its own, and stands at place, place + 1,
    ... place + copies - 1.

    >>> phases(5)
    [(-1, 2, 1, 0), (0, 1, 3, 1), (0, 2, 1, 4)]
    """
    if factor == 1:
        return [(-1, 3, 1, 0)]
    middle = [(0, 1, factor - 2, 1)] if factor > 2 else []
    return [(-1, 2, 1, 0), *middle, (0, 2, 1, factor - 1)]


def summed(weight: Tensor, phase: tuple[int, int, int, int], factor: int, axis: int) -> Tensor:
    """`span` taps along an axis that has three: those that read one number are added up."""
    first, span, _, place = phase
    taps = weight.unbind(axis)
    groups: list[list[Tensor]] = [[] for _ in range(span)]
    for tap in range(3):
        groups[(place + tap - 1) // factor - first].append(taps[tap])
    return torch.stack([torch.stack(group).sum(0) for group in groups], axis)
