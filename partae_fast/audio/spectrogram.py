"""The spectrogram that models are trained on and stored with."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .arrays import float_array

# Samples in one call of the FFT: windowed frames and their spectra, 512 KiB, stay in the second-level cache.
SAMPLES_PER_BLOCK = 2**16

LARGEST_RATE = 10_000_000  # Hz; no recorder samples faster
LONGEST_WINDOW = 2**18  # samples

WINDOWS = {"hann": 2, "sqrt-hann": 1}  # exponent of the sine
_OLD_DEFAULTS = {"window": "hann"}  # values of settings that older model files do not have


@dataclass(frozen=True)
class Spectrogram:
    """Magnitudes of a short-time Fourier transform (STFT) in a frequency band, and the inverse STFT.

    Frame n is centred on sample n * hop, with zeros before and after the recording; T samples have 1 + ceil(T / hop)
    frames, and 0 samples have none. The analysis window is a periodic Hann window or its square root. The inverse
    applies the same window to each frame and divides by the sum of the squared windows, which is exact (Griffin & Lim
    1984, equation 6). It needs the window because a masked frame does not taper to 0 at its ends: without the window
    every frame would start and end with a click. `partae_fast.reference.spectrogram` has the mathematics.

    Arguments:
        rate: sample rate of the audio in Hz, at most 10 MHz.
        n_fft: samples in a window, even, at most 2^18.
        hop: samples between frames; a divisor of n_fft, at most n_fft / 2.
        low, high: the band in Hz, both ends included; 0 <= low <= high <= rate / 2. If `high` is None, it follows from
            `bins`, or is rate / 2 if `bins` is None too.
        bins: number of bins in the band, to check it; None computes it.
        gain: positive factor of the magnitudes (not of the STFT), to match the levels of the training data.
        window: "hann" or "sqrt-hann", its square root.

    Raises UserError if the arguments are out of range or contradict one another.

    >>> Spectrogram(rate=22050, n_fft=128, hop=64, low=1700.0, high=7200.0).bins
    32
    """

    rate: int = 22050
    n_fft: int = 128
    hop: int = 64
    low: float = 1700.0
    # __post_init__ replaces None, so both are numbers afterwards.
    high: float = 7200.0
    bins: int = None  # pyright: ignore[reportAssignmentType]
    gain: float = 1.0
    window: str = "hann"

    def __post_init__(self) -> None:
        self._check_grid()
        self._check_band()
        if not (_is_number(self.gain) and self.gain > 0):
            raise UserError(f"spectrogram: gain is {self.gain!r}; it must be a positive number")
        if self.window not in WINDOWS:
            raise UserError(f"spectrogram: window is {self.window!r}; it must be {' or '.join(WINDOWS)}")

    def _check_grid(self) -> None:
        for name, most in (("rate", LARGEST_RATE), ("n_fft", LONGEST_WINDOW), ("hop", LONGEST_WINDOW)):
            value = getattr(self, name)
            _check_count(name, value)
            if value > most:
                raise UserError(f"spectrogram: {name} is {value:.8g}; it must be at most {most}")
            object.__setattr__(self, name, int(value))
        if self.n_fft % 2:
            raise UserError(f"spectrogram: n_fft is {self.n_fft}; it must be even, for example {self.n_fft + 1}")
        if self.n_fft % self.hop or self.n_fft < 2 * self.hop:
            raise UserError(
                f"spectrogram: hop is {self.hop}; it must divide n_fft = {self.n_fft} and be at most half of it, for "
                f"example {self.n_fft // 2}"
            )

    def _check_band(self) -> None:
        """Check low, high and bins against one another, and compute those that are None."""
        if not (_is_number(self.low) and 0 <= self.low <= self.rate / 2):
            half = f"{self.rate / 2:g}"
            raise UserError(f"spectrogram: low is {self.low!r} Hz; it must lie between 0 and half the rate, {half}")
        if self.bins is not None:
            _check_count("bins", self.bins)
        high = self.high
        if high is None:
            last = self.first + int(self.bins) - 1 if self.bins is not None else self.n_fft // 2
            high = last * self.rate / self.n_fft
        if not (_is_number(high) and self.low <= high <= self.rate / 2):
            raise UserError(
                f"spectrogram: high is {high!r} Hz; at {self.rate} Hz it must lie between low = {self.low:g} "
                f"and {self.rate / 2:g}: choose a lower band or a higher rate"
            )
        bins = math.floor(high * self.n_fft / self.rate + 1e-6) - self.first + 1
        if bins < 1:
            raise UserError(
                f"spectrogram: no bin lies from {self.low:g} to {high:g} Hz; bins are "
                f"{self.rate / self.n_fft:g} Hz apart: widen the band or increase n_fft"
            )
        if self.bins is not None and self.bins != bins:
            raise UserError(
                f"spectrogram: bins is {self.bins}, but {self.low:g} to {high:g} Hz holds {bins} bins at rate "
                f"{self.rate} and n_fft {self.n_fft}: set bins={bins}, or leave out bins or high"
            )
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(high))
        object.__setattr__(self, "bins", bins)

    @property
    def first(self) -> int:
        """FFT bin of the band's bin 0; the band has the FFT bins first .. first + bins - 1."""
        # 1e-6 of a bin allows for the rounding of a frequency that was computed from a bin.
        return math.ceil(self.low * self.n_fft / self.rate - 1e-6)

    @property
    def frequencies(self) -> NDArray[np.floating]:
        """Centre frequencies of the bins in Hz, (bins,)."""
        return (self.first + np.arange(self.bins)) * (self.rate / self.n_fft)

    @property
    def window_samples(self) -> NDArray[np.float32]:
        """Samples of the window, (n_fft,)."""
        angles = np.pi * np.arange(self.n_fft) / self.n_fft
        return (np.sin(angles) ** WINDOWS[self.window]).astype(np.float32)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.rate / self.hop

    def frame_count(self, length: int) -> int:
        """Return the number of frames of `length` samples."""
        return 1 + -(-length // self.hop) if length else 0

    def magnitude(self, audio: ArrayLike) -> NDArray[np.float32]:
        """Return the magnitudes in the band times `gain`, (frames, bins) float32, of audio (T,) at `rate`."""
        padded = self._padded(audio)
        out = np.empty((self._frames_in(padded), self.bins), np.float32)
        for start, spectrum in self._blocks(padded):
            np.abs(spectrum[:, self._band], out=out[start : start + len(spectrum)])
        out *= np.float32(self.gain)
        return out

    def stft(self, audio: ArrayLike) -> NDArray[np.complex64]:
        """Return spectra of all frequencies, (frames, n_fft//2 + 1) complex64, of audio (T,) at `rate`."""
        return self.spectra(self._padded(audio))

    def istft(self, stft: NDArray[np.complexfloating], length: int) -> NDArray[np.float32]:
        """Return audio (length,) float32 of spectra from `stft`; raise UserError if the shape does not match."""
        expected_shape = (self.frame_count(length), self.n_fft // 2 + 1)
        if stft.shape != expected_shape:
            raise UserError(
                f"istft: stft has shape {stft.shape}; {length} samples have shape {expected_shape}: check the length"
            )
        total, weight = self.overlap_add(stft)
        inside = slice(self.n_fft // 2, self.n_fft // 2 + length)
        return total[inside] / weight[inside]

    def spectra(self, padded: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Return the spectra of the frames that start at samples 0, hop, 2 hop ... of `padded` (T,)."""
        out = np.empty((self._frames_in(padded), self.n_fft // 2 + 1), np.complex64)
        for start, spectrum in self._blocks(padded):
            out[start : start + len(spectrum)] = spectrum
        return out

    def overlap_add(self, spectra: NDArray[np.complexfloating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the sum of the windowed frames and the sum of the squared windows.

        Their quotient is the audio. Each has shape ((frames - 1) * hop + n_fft,) for spectra (frames, n_fft//2 + 1);
        frame n starts at sample n * hop. A stream adds the sums of neighbouring chunks before it divides.
        """
        from scipy.fft import irfft

        overlap = self.n_fft // self.hop
        count = len(spectra)
        # A row is one hop: part j of frame n is added to row n + j.
        total = np.zeros((count + overlap - 1 if count else 0, self.hop), np.float32)
        spectra, window = spectra.astype(np.complex64, copy=False), self.window_samples
        step = max(1, SAMPLES_PER_BLOCK // self.n_fft)
        for start in range(0, count, step):
            frames = np.asarray(irfft(spectra[start : start + step], self.n_fft))
            frames *= window
            parts = frames.reshape(-1, overlap, self.hop)
            for j in range(overlap):
                total[start + j : start + j + len(parts)] += parts[:, j]
        return total.reshape(-1), self.weight(count)

    def weight(self, count: int) -> NDArray[np.float32]:
        """Return the sum of the squared windows of `count` frames, ((count - 1) * hop + n_fft,), or (0,) for 0."""
        overlap = self.n_fft // self.hop
        squared = np.square(self.window_samples).reshape(overlap, self.hop)
        distinct = min(count, overlap)
        # A row is one hop; all rows between the two ends are equal.
        rows = np.zeros((distinct + overlap - 1 if distinct else 0, self.hop), np.float32)
        for n in range(distinct):
            rows[n : n + overlap] += squared
        repeats = np.ones(len(rows), int)
        repeats[distinct - 1 : distinct] += count - distinct
        return np.repeat(rows, repeats, axis=0).reshape(-1)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as numbers and strings, for a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Spectrogram":
        """Return the spectrogram of `to_dict`'s settings; raise UserError for unknown or missing names."""
        names = {field.name for field in fields(cls)}
        settings = _OLD_DEFAULTS | settings
        if set(settings) != names:
            mismatched = ", ".join(sorted(names ^ set(settings)))
            raise UserError(
                f"spectrogram: unknown or missing settings: {mismatched}; the file was written by another version"
            )
        return cls(**settings)

    @property
    def _band(self) -> slice:
        return slice(self.first, self.first + self.bins)

    def _frames_in(self, padded: NDArray[np.floating]) -> int:
        return max(0, (len(padded) - self.n_fft) // self.hop + 1)

    def _padded(self, audio: ArrayLike) -> NDArray[np.floating]:
        samples = float_array(audio, "spectrogram")
        if samples.ndim != 1:
            raise UserError(
                f"spectrogram: audio has shape {samples.shape}; it must have shape (samples,): pass one channel"
            )
        frames = self.frame_count(len(samples))
        padded = np.zeros((frames - 1) * self.hop + self.n_fft if frames else 0, samples.dtype)
        padded[self.n_fft // 2 : self.n_fft // 2 + len(samples)] = samples
        return padded

    def _blocks(self, padded: NDArray[np.floating]) -> Iterator[tuple[int, NDArray[np.complex64]]]:
        """Yield the first frame and the spectra of each block."""
        from scipy.fft import rfft

        if len(padded) < self.n_fft:
            return
        padded, window = padded.astype(np.float32, copy=False), self.window_samples
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.n_fft)[:: self.hop]
        step = max(1, SAMPLES_PER_BLOCK // self.n_fft)
        for start in range(0, len(frames), step):
            yield start, np.asarray(rfft(frames[start : start + step] * window, overwrite_x=True))


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return numeric and math.isfinite(value)


def _check_count(name: str, value: Any) -> None:
    if not _is_number(value) or value != int(value) or value < 1:
        raise UserError(f"spectrogram: {name} is {value!r}; it must be a whole number of at least 1")
