"""The gains are those of the recursion, and a stretch of a recording has those of the whole."""

import numpy as np
import pytest
from scipy.special import exp1

from partae_fast.masking.decision_directed import BLOCK, RULES, decision_directed

LEAST = 10**-2.5


def power(frames, bins=9, seed=0):
    """Of noise, and three times a burst that rises from it."""
    p = np.random.default_rng(seed).exponential(size=(frames, bins)).astype(np.float32)
    p[frames // 4 : frames // 3] *= 30
    return p


def plain(p, memory, rule):
    """The recursion frame by frame from the first frame on, in float64."""
    gain, before = np.empty(p.shape), np.zeros(p.shape[1])
    for n, now in enumerate(p.astype(np.float64)):
        ratio = np.maximum(memory * before + (1 - memory) * np.maximum(now - 1, 0), LEAST)
        gain[n] = ratio / (1 + ratio)
        if rule == "log-mmse":
            gain[n] = np.minimum(gain[n] * np.exp(exp1(np.maximum(gain[n] * now, 1e-6)) / 2), 1)
        before = gain[n] ** 2 * now
    return gain


@pytest.mark.parametrize("rule", RULES)
def test_gains_of_the_first_block_are_the_recursions_and_later_ones_close_to_them(rule):
    p = power(5 * BLOCK + 7)
    gain, expected = decision_directed(p, 0.95, LEAST, rule), plain(p, 0.95, rule)
    assert gain.shape == p.shape and gain.dtype == np.float32
    np.testing.assert_allclose(gain[:BLOCK], expected[:BLOCK], rtol=1e-4)
    # Later blocks start from nothing a block early: nearly all of it is forgotten.
    assert np.quantile(np.abs(gain - expected), 0.99) < 1e-3


@pytest.mark.parametrize("first", [0, BLOCK, 3 * BLOCK])
@pytest.mark.parametrize("rule", RULES)
def test_a_stretch_that_starts_at_a_block_has_the_gains_of_the_whole(rule, first):
    p = power(6 * BLOCK + 5)
    halo = min(first, BLOCK)
    part = decision_directed(p[first - halo : first + 2 * BLOCK], 0.95, LEAST, rule)
    np.testing.assert_array_equal(part[halo:], decision_directed(p, 0.95, LEAST, rule)[first : first + 2 * BLOCK])


@pytest.mark.parametrize("rule", RULES)
def test_noise_is_attenuated_and_what_is_far_louder_is_kept(rule):
    p = power(400, bins=50)[200:]
    assert np.mean(decision_directed(p, 0.95, LEAST, rule) ** 2 * p) < 0.1 * np.mean(p)
    assert decision_directed(1000 * p, 0.95, LEAST, rule)[20:].mean() > 0.9


def test_frames_fewer_than_a_block_and_none():
    assert decision_directed(np.zeros((0, 3), np.float32), 0.95, LEAST).shape == (0, 3)
    np.testing.assert_allclose(decision_directed(np.zeros((2, 3), np.float32), 0.95, LEAST), LEAST / (1 + LEAST), 1e-5)
