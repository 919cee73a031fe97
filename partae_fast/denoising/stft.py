"""Short-time Fourier transforms of the band, and their inverse with gains, in blocks that fit in the cache."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram

# Samples in one call of the FFT: a block's frames and spectra stay in the second-level cache.
SAMPLES_PER_BLOCK = 2**15


def analyse(
    samples: NDArray[np.float32], spectrogram: Spectrogram
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Return the spectra of the band and their magnitudes times `spectrogram.gain`, (C, frames, bins) each.

    `samples` has shape (T, C); frames start at samples 0, hop, 2 hop ...
    """
    from scipy.fft import rfft

    n_fft, band, window = spectrogram.n_fft, _band(spectrogram), spectrogram.window_samples
    frames = sliding_window_view(np.ascontiguousarray(samples.T), n_fft, axis=1)[:, :: spectrogram.hop]
    spectra = np.empty((*frames.shape[:2], spectrogram.bins), np.complex64)
    magnitudes = np.empty(spectra.shape, np.float32)
    for channel in range(len(frames)):
        for block in _blocks(frames.shape[1], n_fft):
            windowed = frames[channel, block] * window
            spectra[channel, block] = np.asarray(rfft(windowed, overwrite_x=True))[:, band]
            np.abs(spectra[channel, block], out=magnitudes[channel, block])
    magnitudes *= np.float32(spectrogram.gain)
    return spectra, magnitudes


def synthesise(
    spectra: NDArray[np.complex64], gains: NDArray[np.float32], spectrogram: Spectrogram, floor: float, before: int
) -> NDArray[np.float32] | None:
    """Return the overlap-added frames from frame `before` on, weighted by max(gain, floor) - floor.

    `spectra` are the result of `analyse`, `gains` have shape (C, frames, bins), and the sum has shape
    (C, (frames - 1) hop + n_fft). Frequencies outside the band are 0. Returns None if a gain is not finite.
    """
    from scipy.fft import irfft

    if not np.isfinite(gains).all():
        return None
    channels, count, _ = gains.shape
    n_fft, hop, band, window = spectrogram.n_fft, spectrogram.hop, _band(spectrogram), spectrogram.window_samples
    # A row is one hop: part j of frame n is added to row n + j.
    total = np.zeros((channels, count + n_fft // hop - 1, hop), np.float32)
    for channel in range(channels):
        for block in _blocks(count, n_fft):
            gain = np.maximum(gains[channel, block], np.float32(floor))
            gain -= np.float32(floor)
            weighted = np.zeros((len(gain), n_fft // 2 + 1), np.complex64)
            weighted[:, band] = spectra[channel, before + block.start : before + block.start + len(gain)]
            weighted[:, band] *= gain
            frames = np.asarray(irfft(weighted, n_fft, overwrite_x=True))
            frames *= window
            for j in range(n_fft // hop):
                total[channel, block.start + j : block.start + j + len(frames)] += frames[:, j * hop : (j + 1) * hop]
    return total.reshape(channels, -1)


def _band(spectrogram: Spectrogram) -> slice:
    return slice(spectrogram.first, spectrogram.first + spectrogram.bins)


def _blocks(count: int, n_fft: int) -> list[slice]:
    step = max(1, SAMPLES_PER_BLOCK // n_fft)
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]
