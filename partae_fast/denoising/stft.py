"""The way from samples to magnitudes, and from gains back to samples, of any spectrogram; stft_cpu is faster."""

import numpy as np
from numpy.typing import NDArray

from ..audio.spectrogram import Spectrogram


def analyse(
    samples: NDArray[np.float32], spectrogram: Spectrogram
) -> tuple[NDArray[np.complex64], NDArray[np.float32]]:
    """Samples (T, C) -> spectra of the band and their magnitudes times `spectrogram.gain`, (C, frames, bins) both.

    Frames begin at samples 0, hop, 2 hop ...
    """
    band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
    spectra = np.stack([spectrogram.spectra(channel)[:, band] for channel in samples.T])
    return spectra, np.abs(spectra) * np.float32(spectrogram.gain)


def synthesise(
    spectra: NDArray[np.complex64], gains: NDArray[np.float32], spectrogram: Spectrogram, floor: float, before: int
) -> NDArray[np.float32] | None:
    """Spectra from frame `before` on, times gains, as windowed frames that are added up: (C, (frames - 1) hop + n_fft).

    gains: (C, frames, bins). Spectra are multiplied by max(gain, floor) - floor, outside the band by 0. None where a
    gain is not finite.
    """
    if not np.isfinite(gains).all():
        return None
    channels, frames, bins = gains.shape
    weighted = np.zeros((channels, frames, spectrogram.n_fft // 2 + 1), np.complex64)
    band = slice(spectrogram.first, spectrogram.first + bins)
    weighted[..., band] = spectra[:, before : before + frames] * (
        np.maximum(gains, np.float32(floor)) - np.float32(floor)
    )
    return np.stack([spectrogram.overlap_add(channel)[0] for channel in weighted])
