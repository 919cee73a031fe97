"""The kernels of the filter's gain compute its formula, for any block of frames."""

import numpy as np
import pytest

from partae_fast.masking.decision_directed import decision_directed
from partae_fast.masking.empirical_bayes import POWERS, band_edges, bin_tables
from partae_fast.masking.filter_gain import apply, two_gains
from partae_fast.masking.rules import smoothed_power

MEMORY, LEAST = 0.95, 10**-2.5


def material(frames, bins, first, seed=0):
    """Spectra with `first` bins below the band and 2 above it, the level of the noise, and tables of the gain."""
    rng = np.random.default_rng(seed)
    shape = (frames, first + bins + 2)
    loud = rng.exponential(3, (frames, 1))
    spectra = (loud * (rng.normal(size=shape) + 1j * rng.normal(size=shape))).astype(np.complex64)
    spectra[rng.random(shape) < 0.05] = 0
    level = rng.uniform(0.5, 2, bins).astype(np.float32)
    tables = np.sort(rng.random((len(band_edges(bins)) - 1, len(POWERS))), axis=1).astype(np.float32)
    return spectra, level, bin_tables(tables, bins)


def plain_gains(spectra, first, level, table, block):
    """D E by the plain decision-directed gain and by interpolation in the tables."""
    over_noise = np.abs(spectra[:, first : first + len(level)]) / np.sqrt(level)
    d = decision_directed(np.square(over_noise), MEMORY, LEAST, block=block)
    power = np.log(np.maximum(smoothed_power(over_noise), np.exp(POWERS[0])))
    return d * np.stack([np.interp(power[:, h], POWERS, table[h, :-1]) for h in range(len(level))], axis=1)


@pytest.mark.parametrize(
    ("frames", "bins", "first", "block"),
    [(1, 1, 0, 16), (2, 7, 1, 64), (255, 33, 3, 16), (256, 8, 0, 64), (300, 97, 2, 32)],
)
def test_both_gains_are_the_plain_ones_in_every_block(frames, bins, first, block):
    spectra, level, table = material(frames, bins, first)
    expected = plain_gains(spectra, first, level, table, block)
    for size in (block, 256):
        for begin in range(0, frames, size):
            count = min(size, frames - begin)
            gain, magnitudes = two_gains(
                spectra, first, begin, count, level, np.float32(0.5), table.ravel(), MEMORY, LEAST, block
            )
            # The error of the logarithm, below 1.4e-6 for powers from e^-9 on, is 8e-6 of a step of the table, in which
            # a gain rises by 0.1 at most; roundings add as much.
            np.testing.assert_allclose(gain, expected[begin : begin + count], atol=2e-6)
            inside = np.abs(spectra[begin : begin + count, first : first + bins])
            np.testing.assert_allclose(magnitudes, 0.5 * inside, rtol=1e-6)


def test_the_product_of_gains_multiplies_the_band_and_clears_the_rest():
    spectra, _, _ = material(40, 21, 3)
    rng, before = np.random.default_rng(1), spectra.copy()
    gain, signal, noise = rng.random((3, 25, 21), np.float32)
    gain[3, 4], signal[5, 6], noise[7, 8] = 0, 0, 0
    signal[9, 10] = noise[9, 10] = 0
    weights = rng.random(21, np.float32)
    apply(spectra, 3, 10, gain, (signal, noise), weights, 0.225)
    share = signal.astype(np.float64) ** 2 / (signal.astype(np.float64) ** 2 + noise.astype(np.float64) ** 2 + 1e-20)
    expected = np.zeros((25, before.shape[1]), np.complex128)
    expected[:, 3:24] = before[10:35, 3:24] * (gain**2 * share) ** 0.225 * weights
    np.testing.assert_allclose(spectra[10:35], expected, rtol=3e-6, atol=1e-6)
    assert np.array_equal(spectra[:10], before[:10]) and np.array_equal(spectra[35:], before[35:])


def test_not_a_number_is_no_index():
    spectra, level, table = material(20, 9, 0)
    spectra[7, 4] = np.nan
    gain, magnitudes = two_gains(spectra, 0, 0, 20, level, np.float32(1), table.ravel(), MEMORY, LEAST, 16)
    assert np.isnan(gain[7:16, 4]).all() and np.isfinite(gain[:6]).all()
    loud = np.ones_like(spectra)  # a gain that is not a number must not become one
    apply(loud, 0, 0, gain, (magnitudes, np.ones_like(magnitudes)), np.ones_like(level), 0.225)
    assert np.isnan(loud[7:16, 4]).all() and np.isfinite(loud[:6]).all()
