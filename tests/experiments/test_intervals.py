"""Means and medians as text, with intervals that cover the truth as often as they say."""

import re

import numpy as np
import pytest

from partae_fast.experiments.intervals import mean_text, median_text


def test_single_values_have_no_interval():
    assert mean_text([1.25]) == "+1.2" and median_text([-1.0] * 5, 2) == "-1.00"


@pytest.mark.parametrize(("text", "count"), [(mean_text, 40), (median_text, 9), (median_text, 24)])
def test_intervals_cover_the_truth(text, count):
    random, covered, trials = np.random.default_rng(3), 0, 60
    for _ in range(trials):
        middle, low, high = map(float, re.findall(r"[+-][\d.]+", text(random.normal(2.0, 1.0, count), 3)))
        assert low <= middle <= high
        covered += low <= 2.0 <= high
    assert 0.88 * trials <= covered


def test_median_interval_is_that_of_the_sign_test():
    assert median_text(np.arange(1.0, 10.0)) == "+5.0 [+2.0, +8.0]"  # of nine values, 96 % by the binomial distribution
