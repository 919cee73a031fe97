"""A filter without a network: Wiener, empirical Bayes and factorisation gains, with longer windows at low frequency."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from ..masking.decision_directed import BLOCK
from ..masking.empirical_bayes import POWERS, band_edges, bin_tables, gain_tables
from ..masking.noise_level import noise_level
from ..masking.rules import smoothed_power
from . import nmf
from .state import StatefulModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

Audio = NDArray[np.float32]

MEMORY = 0.95  # weight of the previous frame in the decision-directed ratio
LEAST_RATIO = 10**-2.5
LENGTHS = (4, 8, 16, 32, 64)  # window lengths in hops of the model's spectrogram; a window's own hop is a quarter
SECONDS = 0.046  # window at 1 kHz; at f kHz it is this divided by the root of f
_PERIOD = 256  # hops of the model's spectrogram in a block, if it has no more than BLOCK frames
NOISE_COMPONENTS, SIGNAL_COMPONENTS = 16, 32
LEARNING, INFERENCE = 40, 20  # updates of the factorisation
POWER = 0.45  # of the Wiener and the empirical Bayes gain in the product of gains
SHARE_POWER = POWER / 2  # of the factorisation's gain
_FRAMES = 256  # of a window that are processed at a time, in the second-level cache; a multiple of BLOCK
FACTORISED = 4096  # at most so many frames of each kind are factorised
_SMALLEST = 1e-20  # lower limit of a power that is divided by; below the power of float32 audio


class NoiseFilter(nn.Module):
    """Denoise by a product of three gains: D^0.45 E^0.45 A^0.225.

    D is a decision-directed Wiener gain, E an empirical Bayes gain, and A the share of the signal's power in a
    non-negative factorisation with components of noise, learned from noise-only audio, and components of signal,
    learned from the recordings while those of noise are fixed.

    Sounds of low frequency change slowly and need narrow bins. At each frequency the estimate is the weighted mean over
    the two windows whose lengths are nearest to 46 ms / sqrt(f in kHz).

    A frame's gain depends on a bounded number of frames, so a chunk that starts at a multiple of `block` samples gets
    the same gains as the whole recording.

    Args:
        hop: in samples, 1 to 65535; the windows have 4, 8, 16, 32 or 64 hops.
        rate: sample rate in Hz, at least 1.
        low: lower end of the band in Hz; lower frequencies have its windows.

    Attributes:
        windows: for each window length in samples that some frequency uses, its bins as a slice.
        level_N, table_N, dictionary_N: buffers for the window of N samples and its B bins: the noise's mean power (B,),
            the tables of E (bands, 127), and the components of noise and signal (48, B); 0 before `learn`.

    Raises UserError if an argument is out of range.
    """

    def __init__(self, hop: int, rate: int, low: float = 0.0) -> None:
        super().__init__()
        if isinstance(hop, bool) or not isinstance(hop, int) or not 1 <= hop < 2**16:
            raise UserError(f"hop is {hop!r}; it must be a whole number of samples, from 1 to 65535")
        if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
            raise UserError(f"rate is {rate!r}; it must be a whole number of Hz, 1 or more")
        if isinstance(low, bool) or not isinstance(low, int | float) or not 0 <= low < rate / 2:
            raise UserError(f"low is {low!r}; it must be a frequency in Hz, from 0 to less than {rate / 2:g}")
        self.hop, self.rate, self.low = hop, rate, float(low)
        self.windows: dict[int, slice] = {}
        self._weights: dict[int, NDArray[np.float32]] = {}
        for length in LENGTHS:
            weights = window_weights(length, hop, rate, self.low)
            used = np.flatnonzero(weights)
            if not len(used):
                continue
            window, bins = length * hop, slice(int(used[0]), int(used[-1]) + 1)
            count = bins.stop - bins.start
            self.windows[window], self._weights[window] = bins, weights[bins]
            self.register_buffer(f"level_{window}", torch.zeros(count))
            self.register_buffer(f"table_{window}", torch.zeros(len(band_edges(count)) - 1, len(POWERS)))
            self.register_buffer(f"dictionary_{window}", torch.zeros(NOISE_COMPONENTS + SIGNAL_COMPONENTS, count))

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal filter."""
        return {"hop": self.hop, "rate": self.rate, "low": self.low}

    @property
    def block(self) -> int:
        """Chunks start at a multiple of this number of samples."""
        return _PERIOD * self.hop

    @property
    def halo(self) -> int:
        """Number of samples on each side of a chunk that affect it, a multiple of `block`."""
        reach = max((self._frames(window) + 2) * window // 4 + 2 * window for window in self.windows)
        return -(-reach // self.block) * self.block

    def _frames(self, window: int) -> int:
        """Return the number of frames in a block of the decision-directed gain."""
        return min(BLOCK, 4 * self.block // window)

    def learn(self, signal: Sequence[Audio], noise: Sequence[Audio]) -> None:
        """Set noise level, gain tables and components from recordings.

        Args:
            signal, noise: recordings (T,) that may have signal, and noise-only recordings.

        Raises UserError if the recordings of a kind are shorter than the longest window in all.
        """
        for window, bins in self.windows.items():
            mixed, alone = (self._powers(recordings, window) for recordings in (signal, noise))
            level = np.maximum(noise_level(alone, mixed), _SMALLEST)[bins]
            mixed, alone = mixed[:, bins], alone[:, bins]
            own = np.maximum(alone.mean(axis=0, dtype=np.float64).astype(np.float32), _SMALLEST)
            tables = gain_tables(smoothed_power(np.sqrt(alone / own)), smoothed_power(np.sqrt(mixed / level)))
            getattr(self, f"level_{window}").copy_(torch.from_numpy(level))
            getattr(self, f"table_{window}").copy_(torch.from_numpy(tables))
            scale = _scale(level)
            dictionary = _dictionary(_sample(alone) * np.sqrt(level / own) * scale, _sample(mixed) * scale)
            getattr(self, f"dictionary_{window}").copy_(dictionary)

    def denoised(self, samples: Audio) -> Audio:
        """Return the estimate of the signal in samples (T,); samples beyond both ends are taken as 0."""
        total = np.zeros(len(samples), np.float32)
        for window in self.windows:
            grid = _grid(window, self.rate)
            padded = np.zeros(len(samples) + 2 * window + (-len(samples)) % grid.hop, np.float32)
            padded[window : window + len(samples)] = samples
            spectra = grid.spectra(padded)
            self._multiply_by_gain(spectra, window)
            out, weight = grid.overlap_add(spectra)
            inside = slice(window, window + len(samples))
            total += out[inside] / weight[inside]
        return total

    def _multiply_by_gain(self, spectra: NDArray[np.complex64], window: int) -> None:
        """Multiply the spectra (frames, window / 2 + 1) by the weighted gain of the window's bins, and others by 0."""
        from ..masking import filter_gain  # imported here because importing Numba is slow

        bins = self.windows[window]
        level, tables, dictionary = (
            getattr(self, f"{name}_{window}").cpu() for name in ("level", "table", "dictionary")
        )
        level = np.maximum(level.numpy(), _SMALLEST)
        table, scale, first = bin_tables(tables.numpy(), len(level)).ravel(), _scale(level), bins.start
        ratios = MEMORY, LEAST_RATIO, self._frames(window)
        waiting = None
        for begin in range(0, len(spectra), _FRAMES):
            count = min(_FRAMES, len(spectra) - begin)
            gain, magnitudes = filter_gain.two_gains(spectra, first, begin, count, level, scale, table, *ratios)
            if waiting:  # the gain of a frame depends on frames before and after it
                filter_gain.apply(spectra, first, *waiting, self._weights[window], SHARE_POWER)
            waiting = begin, gain, _signal_and_noise(magnitudes, dictionary)
        if waiting:
            filter_gain.apply(spectra, first, *waiting, self._weights[window], SHARE_POWER)

    def _powers(self, recordings: Sequence[Audio], window: int) -> NDArray[np.float32]:
        """Return the joined powers (frames, bins) of all recordings that are at least a window long.

        If none is, such as short pauses between labels, they are joined.
        """
        grid = _grid(window, self.rate)
        long = [x for x in recordings if len(x) >= window] or [np.concatenate([*recordings, np.zeros(0, np.float32)])]
        if len(long[0]) < window:
            own, least = len(long[0]) / self.rate, window / self.rate
            raise UserError(f"the recordings last {own:.2f} s in all and a window {least:.2f} s; give longer ones")
        return np.concatenate([np.square(np.abs(grid.spectra(x))) for x in long])


def window_weights(length: int, hop: int, rate: int, low: float) -> NDArray[np.float32]:
    """Return the weight of the window of `length` hops at each of its bins, (length * hop // 2 + 1,).

    The weights of all windows add up to 1 at every frequency. They are linear in the logarithm of the wanted length.
    """
    bins = length * hop // 2 + 1
    frequency = np.maximum(np.arange(bins) * rate / (length * hop), max(low, 1e-3))
    wanted = np.log2(SECONDS * rate / hop / np.sqrt(frequency / 1000))
    wanted = np.clip(wanted, math.log2(LENGTHS[0]), math.log2(LENGTHS[-1]))
    return np.maximum(0, 1 - np.abs(math.log2(length) - wanted)).astype(np.float32)


def _scale(level: NDArray[np.float32]) -> np.float32:
    """Return the factor by which the noise gets a mean power of 1."""
    return np.float32(1 / np.sqrt(max(float(level.mean()), _SMALLEST)))


def _sample(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the magnitudes of at most FACTORISED evenly spaced frames."""
    return np.sqrt(power[:: -(-len(power) // FACTORISED)])


def _dictionary(noise: NDArray[np.float32], mixture: NDArray[np.float32]) -> Tensor:
    """Return components of noise, and of what they do not explain in the mixture, from magnitudes (frames, bins)."""
    components = nmf.learn(torch.from_numpy(noise), NOISE_COMPONENTS, nmf.KL, LEARNING)
    components *= noise.shape[1]  # to a mean of 1, with which those of signal start
    result = nmf.factorise(torch.from_numpy(mixture), components, SIGNAL_COMPONENTS, nmf.KL, LEARNING, seed=0)[1]
    return result / result.sum(dim=1, keepdim=True).clamp_min(_SMALLEST)


def _signal_and_noise(magnitudes: NDArray[np.float32], dictionary: Tensor) -> tuple[Audio, Audio]:
    """Return the magnitudes of signal and noise in the factorised magnitudes (frames, bins)."""
    active = nmf.activations(torch.from_numpy(magnitudes), dictionary, INFERENCE).numpy()
    components = dictionary.numpy()
    noise, signal = slice(0, NOISE_COMPONENTS), slice(NOISE_COMPONENTS, None)
    return active[:, signal] @ components[signal], active[:, noise] @ components[noise]


class FilterModel(StatefulModel):
    """A `NoiseFilter` with the interface of a model. It has no trained weights.

    Args:
        bins: bins of the spectrogram.
        hop, rate, low: see `NoiseFilter`; hop is that of the spectrogram too.

    Attributes:
        filter: the NoiseFilter.
        spectrogram: of the recordings; its band limits the output.
        foreground, mask, pool, taps: 1, None, 1 and 1; the filter has no partition.
    """

    RESTORED = ()

    foreground: Tensor
    history: Any

    def __init__(self, bins: int, hop: int, rate: int, low: float = 0.0) -> None:
        super().__init__()
        self.bins = bins
        self.filter = NoiseFilter(hop, rate, low)
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps = "auto", 1, 1
        self.register_buffer("foreground", torch.ones(1))

    @staticmethod
    def least_numbers(hop: int = 1, **_: Any) -> int:
        """Return a lower limit of the number of values in a model with this configuration."""
        return sum((1 + NOISE_COMPONENTS + SIGNAL_COMPONENTS) * length * hop // 2 for length in LENGTHS)

    def config(self) -> dict[str, Any]:
        """Return the arguments that construct an equal model."""
        return {"bins": self.bins, **self.filter.config()}

    @property
    def block(self) -> int:
        """Chunks of a stream start at a multiple of this number of frames."""
        return self.filter.block // self.filter.hop

    @property
    def halo(self) -> int:
        """Number of frames on each side of a chunk that affect it."""
        return self.filter.halo // self.filter.hop

    @property
    def window(self) -> int:
        """Samples of the filter's longest window."""
        return max(self.filter.windows)

    def estimate(self, spectra: Tensor) -> Tensor:
        """Return the spectra of the signal, (channels, N, n_fft // 2 + 1); 0 outside the band."""
        assert self.spectrogram is not None
        return filtered(self.filter, spectra, self.spectrogram)


def filtered(filter: NoiseFilter, spectra: Tensor, spectrogram: Spectrogram) -> Tensor:
    """Return the spectra of the filtered samples of spectra (channels, N, bins); 0 outside the band."""
    out = np.zeros(tuple(spectra.shape), np.complex64)
    band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
    for channel, own in zip(spectra.cpu().numpy(), out, strict=True):
        total, weight = spectrogram.overlap_add(channel)
        samples = np.asarray(total / np.maximum(weight, np.float32(1e-6)), np.float32)
        own[:, band] = spectrogram.spectra(filter.denoised(samples))[:, band]
    return torch.from_numpy(out).to(spectra.device)


def _grid(window: int, rate: int) -> Spectrogram:
    from ..audio.spectrogram import Spectrogram

    return Spectrogram(rate=rate, n_fft=window, hop=window // 4, low=0.0, high=None)  # pyright: ignore[reportArgumentType]
