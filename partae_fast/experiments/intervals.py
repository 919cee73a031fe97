"""Means and medians with 95 % intervals, as text for the figures of claims."""

from collections.abc import Sequence

import numpy as np

from ..evaluation.summary import bootstrap


def mean_text(values: Sequence[float], decimals: int = 1) -> str:
    """Return the mean with its sign, and its 95 % interval if there are two or more values.

    The interval is a percentile bootstrap over the values: songs, mixtures or seeds.

    >>> mean_text([1.0, 1.0])
    '+1.0 [+1.0, +1.0]'
    >>> mean_text([0.25], decimals=2)
    '+0.25'
    """
    low, high = bootstrap(np.asarray(values, float))
    return _text(float(np.mean(values)), low, high, decimals)


def median_text(values: Sequence[float], decimals: int = 1) -> str:
    """Return the median with its sign, and its 95 % interval if there are six or more values.

    The interval is that of the sign test, between two order statistics; five values are too few for 95 %.

    >>> median_text([3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    '+3.5 [+1.0, +6.0]'
    >>> median_text([3.0, 1.0, 2.0])
    '+2.0'
    """
    from scipy.stats import binom

    ordered = np.sort(np.asarray(values, float))
    rank = int(binom.ppf(0.025, len(ordered), 0.5)) - 1  # the median is below this order statistic in at most 2.5 %
    low, high = (None, None) if rank < 0 else (float(ordered[rank]), float(ordered[-1 - rank]))
    return _text(float(np.median(ordered)), low, high, decimals)


def _text(middle: float, low: float | None, high: float | None, decimals: int) -> str:
    text = f"{middle:+.{decimals}f}"
    return text if low is None or high is None else f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
