"""The learned gain is that of Wiener where signals are as they are assumed, and a gate where they are rare."""

import numpy as np
import pytest

from partae_fast.masking.empirical_bayes import POWERS, band_edges, bin_tables, gain_tables
from partae_fast.masking.rules import smoothed_power

BINS, FRAMES = 48, 6000


def magnitudes(level, seed):
    """Rayleigh magnitudes whose mean power in each frame and bin is `level`."""
    return np.sqrt(np.random.default_rng(seed).exponential(size=(FRAMES, BINS)) * level).astype(np.float32)


def tables(signal, seed=0, lively=None):
    """The tables of noise of power 1 with a signal of these powers, (FRAMES, 1) each."""
    loud = 1.0 if lively is None else lively
    alone, mixed = magnitudes(loud, seed), magnitudes(np.roll(loud, 7) + signal, seed + 1)
    return gain_tables(smoothed_power(alone), smoothed_power(mixed))


def rare(share, level, seed=5):
    """A signal of this power in stretches of 20 frames that are such a share of the time."""
    sounding = np.random.default_rng(seed).random((FRAMES // 20, 1)) < share
    return np.where(np.repeat(sounding, 20, axis=0), level, 0.0)


def at(table, decibels):
    """A table's gain at a power over the noise's."""
    return np.interp(decibels / 10 * np.log(10), POWERS, table)


def test_gains_rise_with_the_power_from_nothing_to_all():
    for table in tables(rare(0.2, 30.0)):
        assert (np.diff(table) >= 0).all() and 0 <= table[0] < 0.1 and table[-1] > 0.95


def test_where_the_signal_always_sounds_the_gain_is_wieners():
    mean = np.mean([at(table, 10 * np.log10(6.0)) for table in tables(np.full((FRAMES, 1), 5.0))])
    assert mean == pytest.approx(5 / 6, abs=0.04)


def test_the_rarer_the_signal_the_more_of_a_gate():
    often, seldom, never = (np.mean([at(t, 5.0) for t in tables(rare(share, 2.0))]) for share in (0.5, 0.01, 0.0))
    assert often > seldom + 0.1 and seldom > never - 0.01 and never < 0.3
    assert min(at(t, 20.0) for t in tables(rare(0.02, 100.0))) > 0.9


def test_what_lively_noise_reaches_at_times_is_no_signal():
    lively = 0.3 + rare(0.1, 10.0, seed=8)
    steady, unsteady = (np.mean([at(t, 9.0) for t in tables(rare(0.05, 100.0), 0, loud)]) for loud in (None, lively))
    assert steady > 0.6 and unsteady < 0.35


@pytest.mark.parametrize("bins", [1, 5, 64, 65, 129, 513, 4097])
def test_bands_cover_every_bin_once(bins):
    edges = band_edges(bins)
    assert edges[0] == 0 and edges[-1] == bins and (np.diff(edges) > 0).all()


def test_tables_of_bins_are_interpolated_between_bands():
    own = np.stack([np.linspace(0, 1, len(POWERS)), np.linspace(0, 0.5, len(POWERS))]).astype(np.float32)
    table = bin_tables(own, 16)
    assert table.shape == (16, len(POWERS) + 1) and table.dtype == np.float32
    np.testing.assert_allclose(table[:5, :-1], np.tile(own[0], (5, 1)), rtol=1e-6)
    np.testing.assert_allclose(table[12:, :-1], np.tile(own[1], (4, 1)), rtol=1e-6)
    assert (np.diff(table[4:13, 60]) < 0).all()
    np.testing.assert_array_equal(table[:, -1], table[:, -2])  # a power at the end is interpolated too
