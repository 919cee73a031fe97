"""Means and medians with 95 % intervals, as text for the figures of claims."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.summary import bootstrap

_DRAWS = 2000  # of seeds and cases


def seeds_by_cases(values: Mapping[tuple[Any, Any], float]) -> NDArray[np.float64]:
    """Return values by (seed, case) as an array (seeds, cases), for `mean_text`; every seed has every case.

    A case is a mixture, a test or a pair of noises. Seeds and cases keep the order in which they come first.

    >>> seeds_by_cases({(0, "rain"): 1.0, (0, "wind"): 2.0, (1, "rain"): 3.0, (1, "wind"): 4.0}).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    seeds, cases = (list(dict.fromkeys(key[place] for key in values)) for place in (0, 1))
    return np.array([[values[seed, case] for case in cases] for seed in seeds], np.float64)


def seeds_text(seeds: range) -> str:
    """Return seeds as text.

    >>> seeds_text(range(0, 1)), seeds_text(range(1, 4))
    ('seed 0', 'seeds 1 to 3')
    """
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def mean_text(values: Sequence[float] | NDArray[np.float64], decimals: int = 1) -> str:
    """Return the mean with its sign, and its 95 % interval if there are two or more values.

    Args:
        values: of songs, mixtures or seeds, (N,), or of seeds and cases (seeds, cases).
        decimals: of the text.

    The interval is a percentile bootstrap over the values. Of seeds and cases it draws both, because all cases of a
    seed share a model; with one seed it is a bootstrap over the cases.

    >>> mean_text([1.0, 1.0])
    '+1.0 [+1.0, +1.0]'
    >>> mean_text([0.25], decimals=2)
    '+0.25'
    """
    values = np.asarray(values, float)
    if values.ndim == 2 and min(values.shape) == 1:
        values = values.ravel()
    low, high = bootstrap(values) if values.ndim == 1 else _crossed_bootstrap(values)
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


def _crossed_bootstrap(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the 95 % interval of the mean of values (seeds, cases), both of which are drawn."""
    random, (seeds, cases) = np.random.default_rng(0), values.shape
    drawn_seeds, drawn_cases = (random.integers(count, size=(_DRAWS, count)) for count in (seeds, cases))
    means = [values[np.ix_(rows, columns)].mean() for rows, columns in zip(drawn_seeds, drawn_cases, strict=True)]
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def _text(middle: float, low: float | None, high: float | None, decimals: int) -> str:
    text = f"{middle:+.{decimals}f}"
    return text if low is None or high is None else f"{text} [{low:+.{decimals}f}, {high:+.{decimals}f}]"
