"""Denoisers to compare: noisereduce, RNNoise, Wiener filters, a spectral gate, the true ratio mask, and our models.

A denoiser is f(mixture (T,), noise_only (any length,), rate in Hz) -> estimate (T,); all audio is float32.
"""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..audio.resample import resample
from ..audio.spectrogram import Spectrogram
from ..denoising.denoise import denoise
from ..errors import UserError
from ..masking.decision_directed import decision_directed as gains
from ..models.protocol import Model
from ..systems.fit import fit
from ..systems.registry import DEFAULT
from ..training.options import TrainingOptions

Audio = NDArray[np.float32]
Denoiser = Callable[[Audio, Audio, int], Audio]

# Window and hop of the gate and the Wiener filter: 256 and 64 samples at 22.05 kHz, the same durations at other rates.
_HOPS, _HOP_SECONDS = 4, 64 / 22050
_MEMORY = 0.98  # weight of the previous frame in the Wiener filter's signal-to-noise ratio
_LEAST_RATIO = 10**-2.5
_OVER = 4.0  # oversubtraction factor of the gate
_LATEST = 4  # frames by which the output of RNNoise may be late
_SMALLEST = 1e-20  # lower limit of a power that is divided by; below the power of float32 audio


def noisereduce(stationary: bool) -> Denoiser:
    """Return noisereduce (Sainburg 2019) with its default settings.

    Args:
        stationary: whether the threshold of each frequency comes from the noise-only audio. If false, the threshold
            follows the level of the mixture over 2 s, and noisereduce ignores the noise-only audio.

    Raises UserError if noisereduce is not installed.
    """
    if importlib.util.find_spec("noisereduce") is None:
        raise UserError("noisereduce is not installed; `pip install partae-fast[evaluate]`, or omit it")

    def denoiser(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
        from noisereduce import reduce_noise  # pyright: ignore[reportMissingImports]

        # By default the mask is smoothed over 500 Hz; noisereduce rejects less than two bins of its 1024-point FFT.
        smoothing = max(500, math.ceil(rate / 512))
        estimate = reduce_noise(mixture, rate, stationary, noise_only, freq_mask_smooth_hz=smoothing)
        return np.asarray(estimate, np.float32)

    return denoiser


def rnnoise() -> Denoiser:
    """Return RNNoise (Valin 2018), a speech enhancer, with the weights of the package pyrnnoise.

    It was trained on speech, and ignores the noise-only audio. It works on samples of 16 bits at 48 kHz, and its output
    is a few frames late, which the correlation with the mixture shows and the denoiser undoes.

    Raises UserError if pyrnnoise is not installed.
    """
    if importlib.util.find_spec("pyrnnoise") is None:
        raise UserError("pyrnnoise is not installed; `pip install pyrnnoise`, or omit rnnoise")

    def denoiser(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
        from pyrnnoise import rnnoise as library  # pyright: ignore[reportMissingImports]

        size = library.FRAME_SIZE
        audio = resample(mixture, rate, library.SAMPLE_RATE)
        padded = np.zeros((-(-len(audio) // size) + _LATEST, size), np.float32)
        padded.reshape(-1)[: len(audio)] = np.clip(audio, -1, 1)
        state = library.create()
        try:
            output = np.concatenate([library.process_mono_frame(state, frame)[0] for frame in padded])
        finally:
            library.destroy(state)
        output = output.astype(np.float32) / 32767
        aligned = max(
            (output[delay * size :][: len(audio)] for delay in range(_LATEST + 1)),
            key=lambda candidate: float(candidate @ audio),
        )
        estimate = resample(aligned, library.SAMPLE_RATE, rate)[: len(mixture)]
        return np.pad(estimate, (0, len(mixture) - len(estimate)))

    return denoiser


def wiener(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
    """Apply the Wiener filter g = r / (1 + r) to each frame and bin; r is the signal-to-noise power ratio.

    Let p = |Y|^2 / psd, where psd is the mean of |N|^2 in the noise-only audio. Then r is 0.98 g^2 p of the previous
    frame plus 0.02 max(p - 1, 0), and at least -25 dB.

    Scalart & Filho 1996; r is the decision-directed estimate of Ephraim & Malah 1984.
    """
    grid = _grid(rate)
    spectra = grid.stft(mixture)
    over_noise = np.abs(spectra) ** 2 / np.maximum(_psd(grid, noise_only), _SMALLEST)
    gain = np.empty_like(over_noise)
    before = np.ones_like(over_noise[0])
    for frame, p in enumerate(over_noise):
        ratio = np.maximum(_MEMORY * before + (1 - _MEMORY) * np.maximum(p - 1, 0), _LEAST_RATIO)
        gain[frame] = ratio / (1 + ratio)
        before = gain[frame] ** 2 * p
    return grid.istft(spectra * gain, len(mixture))


def decision_directed(window: int, rule: str) -> Denoiser:
    """Return a decision-directed filter with memory 0.95, a least ratio of -25 dB and a hop of a quarter window.

    Args:
        window: window length at 22.05 kHz, in samples; the duration is the same at other rates.
        rule: "wiener" or "log-mmse".
    """

    def denoiser(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
        hop = max(1, round(window / _HOPS / 22050 * rate))
        grid = Spectrogram(rate=rate, n_fft=_HOPS * hop, hop=hop, low=0.0, high=None)  # pyright: ignore
        spectra = grid.stft(mixture)
        power = np.abs(spectra) ** 2 / np.maximum(_psd(grid, noise_only), _SMALLEST)
        return grid.istft(spectra * gains(power.astype(np.float32), 0.95, _LEAST_RATIO, rule), len(mixture))

    return denoiser


def gate(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
    """Apply the gain max(1 - 4 psd / smooth(|Y|^2), 0), partae's mask without training.

    psd is the mean of |N|^2 in the noise-only audio; smooth() is the mean over 3 frames x 3 bins.
    """
    grid = _grid(rate)
    spectra = grid.stft(mixture)
    power = np.maximum(_smooth(np.abs(spectra) ** 2), _SMALLEST)
    return grid.istft(spectra * np.maximum(1 - _OVER * _psd(grid, noise_only) / power, 0), len(mixture))


def ratio_mask(song: Audio) -> Denoiser:
    """Return the true ratio mask |S|^2 / (|S|^2 + |N|^2) of the clean song (T,): an upper limit for masks."""

    def denoiser(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
        grid = _grid(rate)
        spectra = grid.stft(mixture)
        signal, noise = (np.abs(grid.stft(audio)) ** 2 for audio in (song, mixture - song))
        return grid.istft(spectra * (signal / np.maximum(signal + noise, _SMALLEST)), len(mixture))

    return denoiser


def trained(band: tuple[float, float] | None = None, system: str = DEFAULT, **options: Any) -> Denoiser:
    """Return a denoiser that trains a model on the mixture and the noise-only audio, and applies it to the mixture.

    Args:
        band: low and high in Hz; None for the system's default.
        system: name of a system that learns from weak labels.
        options: of `TrainingOptions`, such as steps, seed and backend.
    """

    def denoiser(mixture: Audio, noise_only: Audio, rate: int) -> Audio:
        settings = {} if band is None else {"low": band[0], "high": band[1]}
        model = fit(
            [(mixture, rate)],
            noise=[(noise_only, rate)],
            system=system,
            settings=settings,
            options=TrainingOptions(progress=False, **options),
        )
        return denoise(mixture, rate, model)

    return denoiser


def with_model(model: Model) -> Denoiser:
    """Return a denoiser that applies a trained model; it ignores the noise-only audio."""
    return lambda mixture, noise_only, rate: denoise(mixture, rate, model)


def _grid(rate: int) -> Spectrogram:
    hop = max(1, round(_HOP_SECONDS * rate))
    return Spectrogram(rate=rate, n_fft=_HOPS * hop, hop=hop, low=0.0, high=None)  # pyright: ignore[reportArgumentType]


def _psd(grid: Spectrogram, noise_only: Audio) -> NDArray[np.floating]:
    """Return the mean of |N|^2 in each bin, (bins,)."""
    return (np.abs(grid.stft(noise_only)).astype(np.float64) ** 2).mean(axis=0)


def _smooth(power: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return means over 3 frames x 3 bins; edge values are repeated beyond the edges."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(power.astype(np.float64), 3, mode="nearest")
