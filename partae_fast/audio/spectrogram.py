"""The one spectrogram definition; a model carries the one that it was trained on."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .arrays import float_array

# Samples in one pass through the FFT: windowed frames and their spectra, 512 KiB, stay in the second-level cache.
SAMPLES_PER_BLOCK = 2**16

WINDOWS = {"hann": 2, "sqrt-hann": 1}  # the power of a sine that each is
_LATER = {"window": "hann"}  # settings that an older file lacks, and what they were


@dataclass(frozen=True)
class Spectrogram:
    """Magnitudes of a short-time Fourier transform in a band of frequencies, and the way back to audio.

    Frame n is centred on sample n * hop; the recording has zeros around it, and T samples have
    1 + ceil(T / hop) frames (no samples: no frames). The analysis window is periodic Hann, or its root. The
    inverse windows each frame with the same window again and divides by the sum of the squared windows, which is
    exact (Griffin & Lim 1984, equation 6). The second window is there for masks: a masked spectrum no
    longer tapers to 0 where its frame begins and ends, and without that window each frame would begin and
    end in a click. The maths is in `partae_fast.reference.spectrogram`.

    Arguments:
        rate: samples per second of the audio that it takes.
        n_fft: length of a window in samples, even.
        hop: samples from a frame to the next; divides n_fft, at most n_fft / 2.
        low, high: the band in Hz, both ends included; 0 <= low <= high <= rate / 2. high None: as
            `bins` says, or rate / 2 where that is None too.
        bins: how many bins the band has, if you want it checked; always an int afterwards.
        gain: positive factor on the magnitudes (not on the STFT), for levels that the model is used to.
        window: "hann" or "sqrt-hann", its square root.

    Raises UserError where these do not fit together.

    >>> Spectrogram(rate=22050, n_fft=128, hop=64, low=1700.0, high=7200.0).bins
    32
    """

    rate: int = 22050
    n_fft: int = 128
    hop: int = 64
    low: float = 1700.0
    # None is filled in below; whoever reads these two finds numbers.
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
        for name in ("rate", "n_fft", "hop"):
            value = getattr(self, name)
            _check_count(name, value)
            object.__setattr__(self, name, int(value))
        if self.n_fft % 2:
            raise UserError(f"spectrogram: n_fft is {self.n_fft}; it must be even, for example {self.n_fft + 1}")
        if self.n_fft % self.hop or self.n_fft < 2 * self.hop:
            raise UserError(
                f"spectrogram: hop is {self.hop}; it must divide n_fft = {self.n_fft} and be at most half "
                f"of it, for example {self.n_fft // 2}"
            )

    def _check_band(self) -> None:
        """Check low, high and bins against one another and fill in the one that is None."""
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
                f"{self.rate / self.n_fft:g} Hz apart: widen the band or take a larger n_fft"
            )
        if self.bins is not None and self.bins != bins:
            raise UserError(
                f"spectrogram: bins is {self.bins}, but {self.low:g} to {high:g} Hz holds {bins} bins at "
                f"rate {self.rate} and n_fft {self.n_fft}: say bins={bins}, or leave out bins or high"
            )
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(high))
        object.__setattr__(self, "bins", bins)

    @property
    def first(self) -> int:
        """The FFT bin that bin 0 is. The band's bins are first .. first + bins - 1."""
        # 1e-6 of a bin forgives the rounding of a frequency that was computed from a bin.
        return math.ceil(self.low * self.n_fft / self.rate - 1e-6)

    @property
    def frequencies(self) -> NDArray[np.floating]:
        """Centre frequencies of the bins in Hz, (bins,)."""
        return (self.first + np.arange(self.bins)) * (self.rate / self.n_fft)

    @property
    def window_samples(self) -> NDArray[np.float32]:
        """The window, (n_fft,)."""
        angles = np.pi * np.arange(self.n_fft) / self.n_fft
        return (np.sin(angles) ** WINDOWS[self.window]).astype(np.float32)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.rate / self.hop

    def frame_count(self, length: int) -> int:
        """How many frames `length` samples have."""
        return 1 + -(-length // self.hop) if length else 0

    def magnitude(self, audio: ArrayLike) -> NDArray[np.float32]:
        """Audio (T,), float, at `rate` -> magnitudes in the band times `gain`, (frames, bins) float32."""
        padded = self._padded(audio)
        out = np.empty((self._frames_in(padded), self.bins), np.float32)
        for start, spectrum in self._blocks(padded):
            np.abs(spectrum[:, self._band], out=out[start : start + len(spectrum)])
        out *= np.float32(self.gain)
        return out

    def stft(self, audio: ArrayLike) -> NDArray[np.complex64]:
        """Audio (T,), float, at `rate` -> spectra of all frequencies, (frames, n_fft//2 + 1) complex64."""
        return self.spectra(self._padded(audio))

    def istft(self, stft: NDArray[np.complexfloating], length: int) -> NDArray[np.float32]:
        """Spectra as from `stft` -> audio (length,) float32; raises UserError where they do not match."""
        wanted = (self.frame_count(length), self.n_fft // 2 + 1)
        if stft.shape != wanted:
            raise UserError(f"istft: spectra are {stft.shape}; {length} samples have {wanted}: check the length")
        total, weight = self.overlap_add(stft)
        inside = slice(self.n_fft // 2, self.n_fft // 2 + length)
        return total[inside] / weight[inside]

    def spectra(self, padded: NDArray[np.floating]) -> NDArray[np.complex64]:
        """Spectra of the frames that begin at samples 0, hop, 2 hop ... of `padded` (T,), for streams."""
        out = np.empty((self._frames_in(padded), self.n_fft // 2 + 1), np.complex64)
        for start, spectrum in self._blocks(padded):
            out[start : start + len(spectrum)] = spectrum
        return out

    def overlap_add(self, spectra: NDArray[np.complexfloating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Both sums of the inverse, frame n beginning at sample n * hop: windowed frames, squared windows.

        Spectra (frames, n_fft//2 + 1) -> two arrays ((frames - 1) * hop + n_fft,) whose quotient is the
        audio. A stream adds up what neighbouring chunks say of the same samples, then divides.
        """
        from scipy.fft import irfft

        overlap = self.n_fft // self.hop
        count = len(spectra)
        # One row holds one hop; part j of frame n falls on row n + j.
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
        """The sum of the squared windows of `count` frames, ((count - 1) * hop + n_fft,); for none, (0,)."""
        overlap = self.n_fft // self.hop
        squared = np.square(self.window_samples).reshape(overlap, self.hop)
        few = min(count, overlap)
        # One row holds one hop; between the ends all rows are equal.
        rows = np.zeros((few + overlap - 1 if few else 0, self.hop), np.float32)
        for n in range(few):
            rows[n : n + overlap] += squared
        times = np.ones(len(rows), int)
        times[few - 1 : few] += count - few
        return np.repeat(rows, times, axis=0).reshape(-1)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for a model's file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: dict[str, Any]) -> "Spectrogram":
        """The inverse of `to_dict`; raises UserError on a name that is unknown or missing."""
        names = {field.name for field in fields(cls)}
        settings = _LATER | settings
        if set(settings) != names:
            odd = ", ".join(sorted(names ^ set(settings)))
            raise UserError(f"spectrogram: settings unknown or missing: {odd}; the file is of another version")
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
                f"spectrogram: audio is of shape {samples.shape}; it must be of shape (samples,): give one channel"
            )
        frames = self.frame_count(len(samples))
        padded = np.zeros((frames - 1) * self.hop + self.n_fft if frames else 0, samples.dtype)
        padded[self.n_fft // 2 : self.n_fft // 2 + len(samples)] = samples
        return padded

    def _blocks(self, padded: NDArray[np.floating]) -> Iterator[tuple[int, NDArray[np.complex64]]]:
        """Each block's first frame and spectra."""
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
