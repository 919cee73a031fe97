"""Nearest up-sampling followed by a filter of three taps, for every back-end.

Up-sampling repeats a number p times. The first of the p positions reads the number before it and its own, the last its
own and the next, and the others only their own. Taps that read the same number are summed in advance, and equal
outputs are computed once.
"""

import torch
from torch import Tensor


def phases(factor: int) -> list[tuple[int, int, int, int]]:
    """Return (first, span, copies, place) of each kind of position among `factor` repeats of a number.

    Such a position reads the numbers first ... first + span - 1, relative to its own, and there are `copies` of it, at
    place ... place + copies - 1.

    >>> phases(5)
    [(-1, 2, 1, 0), (0, 1, 3, 1), (0, 2, 1, 4)]
    """
    if factor == 1:
        return [(-1, 3, 1, 0)]
    middle = [(0, 1, factor - 2, 1)] if factor > 2 else []
    return [(-1, 2, 1, 0), *middle, (0, 2, 1, factor - 1)]


def summed(weight: Tensor, phase: tuple[int, int, int, int], factor: int, axis: int) -> Tensor:
    """Return `span` taps along an axis of three: taps that read the same number are summed."""
    first, span, _, place = phase
    taps = weight.unbind(axis)
    groups: list[list[Tensor]] = [[] for _ in range(span)]
    for tap in range(3):
        groups[(place + tap - 1) // factor - first].append(taps[tap])
    return torch.stack([torch.stack(group).sum(0) for group in groups], axis)
