"""Short-time Fourier transform, its magnitude and its inverse.

    w[t]    = (1 - cos(2 pi t / L)) / 2                                   the periodic Hann window, L = n_fft
    X[n, f] = sum_t w[t] s[n hop + t - L/2] exp(-2 pi i f t / L)           s is 0 outside the recording
    s[t]    = sum_n w[u] y_n[u] / sum_n w[u]^2,  u = t - n hop + L/2       y_n: the inverse transform of X[n]

Frame n is centred on sample n * hop, and the frames n = 0 .. ceil(T / hop) cover all T samples. The inverse is the
least-squares one (Griffin & Lim 1984, equation 6): exact if X is the transform of a signal, else the signal with the
nearest transform.
"""

import numpy as np


def hann(n_fft):
    """Return the periodic Hann window (n_fft,)."""
    return 0.5 * (1 - np.cos(2 * np.pi * np.arange(n_fft) / n_fft))


def frame_count(length, hop):
    """Return the number of frames of `length` samples; 0 for an empty recording."""
    return 1 + -(-length // hop) if length else 0


def fourier(n_fft):
    """Return the discrete Fourier transform of real input as a matrix (n_fft, n_fft//2 + 1)."""
    t, f = np.arange(n_fft), np.arange(n_fft // 2 + 1)
    return np.exp(-2j * np.pi * np.outer(t, f) / n_fft)


def stft(audio, n_fft, hop):
    """Return the transform (frames, n_fft//2 + 1), complex, of audio (T,)."""
    frames = frame_count(len(audio), hop)
    padded = np.zeros((frames - 1) * hop + n_fft if frames else 0)
    padded[n_fft // 2 : n_fft // 2 + len(audio)] = audio
    w, F = hann(n_fft), fourier(n_fft)
    X = np.empty((frames, n_fft // 2 + 1), complex)
    for n in range(frames):
        X[n] = (w * padded[n * hop : n * hop + n_fft]) @ F
    return X


def magnitude(audio, n_fft, hop, first, bins):
    """Return |X| (frames, bins) of audio (T,), for `bins` bins from `first` on."""
    return np.abs(stft(audio, n_fft, hop))[:, first : first + bins]


def istft(X, n_fft, hop, length):
    """Return audio (length,) for a complex transform (frames, n_fft//2 + 1)."""
    w = hann(n_fft)
    # Every frequency except the first and the last also represents its negative.
    twice = np.full(n_fft // 2 + 1, 2.0)
    twice[[0, -1]] = 1.0
    inverse = twice[:, None] * fourier(n_fft).conj().T / n_fft
    total = np.zeros(max(len(X) - 1, 0) * hop + n_fft)
    weight = np.zeros_like(total)
    for n, spectrum in enumerate(X):
        total[n * hop : n * hop + n_fft] += w * (spectrum @ inverse).real
        weight[n * hop : n * hop + n_fft] += w**2
    inside = slice(n_fft // 2, n_fft // 2 + length)
    return total[inside] / weight[inside]
