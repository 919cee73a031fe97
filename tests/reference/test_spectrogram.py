"""The reference transform: its inverse, and its values for signals computed by hand."""

import numpy as np
import pytest

from partae_fast.reference import spectrogram

GRIDS = [(128, 64), (128, 32), (12, 3), (2, 1)]


@pytest.mark.parametrize(("n_fft", "hop"), GRIDS)
@pytest.mark.parametrize("length", [1, 2, 11, 128, 500])
def test_the_inverse_is_exact(n_fft, hop, length):
    audio = np.random.default_rng(0).standard_normal(length)
    X = spectrogram.stft(audio, n_fft, hop)
    assert X.shape == (1 + -(-length // hop), n_fft // 2 + 1)
    np.testing.assert_allclose(spectrogram.istft(X, n_fft, hop, length), audio, rtol=0, atol=1e-12)


def test_no_samples_have_no_frames():
    X = spectrogram.stft(np.zeros(0), 128, 64)
    assert X.shape == (0, 65)
    assert spectrogram.istft(X, 128, 64, 0).shape == (0,)


def test_a_click_lies_under_the_windows_that_reach_it():
    audio = np.zeros(640)
    audio[320] = 1.0  # the centre of frame 5, where the window is 1; frames 64 away have the window's end, 0
    X = spectrogram.stft(audio, 128, 64)
    np.testing.assert_allclose(np.abs(X[5]), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.delete(X, 5, axis=0), 0.0, atol=1e-12)


def test_a_sine_on_a_bin_has_a_quarter_of_the_window_in_that_bin():
    audio = np.sin(2 * np.pi * 10 * np.arange(1280) / 128)
    magnitude = spectrogram.magnitude(audio, 128, 64, 8, 5)[5]
    # Half of the Hann window's sum, 64, and half of that on either side; all other bins are 0.
    np.testing.assert_allclose(magnitude, [0, 16, 32, 16, 0], atol=1e-10)


def test_the_inverse_is_the_least_squares_one():
    """No other audio has a transform nearer to a masked one (Griffin & Lim 1984, equation 6)."""
    rng = np.random.default_rng(1)
    X = spectrogram.stft(rng.standard_normal(60), 12, 3)
    X *= rng.uniform(size=X.shape)
    # Bins 0 and n_fft/2 of a real signal are real.
    X[:, [0, -1]] = X[:, [0, -1]].real
    best = spectrogram.istft(X, 12, 3, 60)

    def distance(audio):
        difference = np.abs(spectrogram.stft(audio, 12, 3) - X) ** 2
        return 2 * difference.sum() - difference[:, [0, -1]].sum()

    for _ in range(20):
        assert distance(best) < distance(best + 1e-3 * rng.standard_normal(60))
