"""A filter that knows the noise's spectrum and how often each power occurs, at two lengths of window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from ..masking.decision_directed import BLOCK, WARM_UP, decision_directed
from ..masking.empirical_bayes import POWERS, band_edges, gain_tables, tabulated_gain
from ..masking.noise_level import noise_level
from ..masking.rules import smoothed_power
from .state import StatefulModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..audio.spectrogram import Spectrogram
    from ..masking.mask import Mask

Audio = NDArray[np.float32]

MEMORY = 0.95  # of the decision-directed ratio: the share that comes from the frame before
LEAST_RATIO = 10**-2.5
LENGTHS = (8, 16)  # hops of the model's spectrogram in a window; a window has four hops of its own
_SMALLEST = 1e-20  # below the power of float32 audio; in place of 0 where something is divided by a power


class NoiseFilter(nn.Module):
    """The geometric mean of a decision-directed Wiener gain and an empirical Bayes gain, at windows of several lengths.

    What comes out is the mean of the estimates of all windows. A frame's gain depends on a bounded number of frames, so
    that a stretch of a recording that starts at a multiple of `block` samples gets what the whole recording gets.

    Args:
        hop: samples; windows are `LENGTHS` times as long.

    Attributes:
        level_N, table_N: buffers, for each window of N samples the noise's power (N/2 + 1,) and the gain's tables
            (bands, 127); 0 before `learn`.
    """

    def __init__(self, hop: int) -> None:
        super().__init__()
        if isinstance(hop, bool) or not isinstance(hop, int) or not 1 <= hop < 2**16:
            raise UserError(f"hop is {hop!r}; it must be a whole number of samples, from 1 to 65535")
        self.hop, self.windows = hop, tuple(length * hop for length in LENGTHS)
        for window in self.windows:
            bins = window // 2 + 1
            self.register_buffer(f"level_{window}", torch.zeros(bins))
            self.register_buffer(f"table_{window}", torch.zeros(len(band_edges(bins)) - 1, len(POWERS)))

    @property
    def block(self) -> int:
        """Samples that a stretch starts at a multiple of."""
        return BLOCK * self.windows[-1] // 4

    @property
    def halo(self) -> int:
        """Samples on either side of a stretch that may change it, a multiple of `block`."""
        reach = (WARM_UP + 2) * self.windows[-1] // 4 + 2 * self.windows[-1]
        return -(-reach // self.block) * self.block

    def learn(self, signal: Sequence[Audio], noise: Sequence[Audio], rate: int) -> None:
        """Set the noise's level and the tables by recordings (T,) at `rate` Hz of what may have signal and of noise."""
        for window in self.windows:
            mixed, alone = (self._powers(recordings, window, rate) for recordings in (signal, noise))
            level = np.maximum(noise_level(alone, mixed), _SMALLEST)
            own = np.maximum(alone.mean(axis=0, dtype=np.float64).astype(np.float32), _SMALLEST)
            tables = gain_tables(smoothed_power(np.sqrt(alone / own)), smoothed_power(np.sqrt(mixed / level)))
            getattr(self, f"level_{window}").copy_(torch.from_numpy(level))
            getattr(self, f"table_{window}").copy_(torch.from_numpy(tables))

    def denoised(self, samples: Audio, rate: int) -> Audio:
        """The signal in samples (T,), at `rate` Hz; silence is taken to lie around them."""
        total = np.zeros(len(samples), np.float32)
        for window in self.windows:
            grid = _grid(window, rate)
            padded = np.zeros(len(samples) + 2 * window + (-len(samples)) % grid.hop, np.float32)
            padded[window : window + len(samples)] = samples
            spectra = grid.spectra(padded)
            level, tables = (getattr(self, f"{name}_{window}").cpu().numpy() for name in ("level", "table"))
            over_noise = np.abs(spectra) / np.sqrt(np.maximum(level, _SMALLEST))
            gain = decision_directed(np.square(over_noise), MEMORY, LEAST_RATIO)
            gain *= tabulated_gain(smoothed_power(over_noise), tables)
            out, weight = grid.overlap_add(spectra * np.sqrt(gain))
            inside = slice(window, window + len(samples))
            total += out[inside] / weight[inside]
        return total / np.float32(len(self.windows))

    def _powers(self, recordings: Sequence[Audio], window: int, rate: int) -> NDArray[np.float32]:
        """The powers (frames, bins) of recordings that last a window or more, one after the other."""
        grid = _grid(window, rate)
        powers = [np.square(np.abs(grid.spectra(x))) for x in recordings if len(x) >= window]
        if not powers:
            longest = max((len(x) for x in recordings), default=0)
            own, least = longest / rate, window / rate
            raise UserError(f"the longest recording lasts {own:.2f} s and a window {least:.2f} s; give longer ones")
        return np.concatenate(powers)


class FilterModel(StatefulModel):
    """A `NoiseFilter` as a model: it has no weights, and estimates the signal in spectra.

    Args:
        bins: of the spectrogram. hop: of the spectrogram and of the filter.

    Attributes:
        filter: the NoiseFilter. foreground: buffer, (1,), 1: it has no partition.
        spectrogram, mask: how recordings become input; mask is None. pool, taps: 1.
    """

    RESTORED = ()

    foreground: Tensor
    history: Any

    def __init__(self, bins: int, hop: int) -> None:
        super().__init__()
        self.bins, self.hop = bins, hop
        self.filter = NoiseFilter(hop)
        self.spectrogram: Spectrogram | None = None
        self.mask: Mask | None = None
        self.backend, self.pool, self.taps = "auto", 1, 1
        self.register_buffer("foreground", torch.ones(1))

    @staticmethod
    def least_numbers(hop: int = 1, **_: Any) -> int:
        """How many numbers a model of such a configuration has, at least."""
        return sum(length * hop // 2 for length in LENGTHS)

    def config(self) -> dict[str, Any]:
        """The arguments that construct an equal model."""
        return {"bins": self.bins, "hop": self.hop}

    @property
    def block(self) -> int:
        """Frames that chunks of a stream start at a multiple of."""
        return self.filter.block // self.hop

    @property
    def halo(self) -> int:
        """Frames on either side of a chunk that may change it."""
        return self.filter.halo // self.hop

    @property
    def window(self) -> int:
        """Samples of the filter's longest window."""
        return self.filter.windows[-1]

    def estimate(self, spectra: Tensor) -> Tensor:
        """The signal's spectra (channels, N, n_fft // 2 + 1), 0 outside the band."""
        assert self.spectrogram is not None
        return filtered(self.filter, spectra, self.spectrogram)


def filtered(filter: NoiseFilter, spectra: Tensor, spectrogram: Spectrogram) -> Tensor:
    """The spectra of what the filter makes of the samples under spectra (channels, N, bins); 0 outside the band."""
    out = np.zeros(tuple(spectra.shape), np.complex64)
    band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
    for channel, own in zip(spectra.cpu().numpy(), out, strict=True):
        total, weight = spectrogram.overlap_add(channel)
        samples = np.asarray(total / np.maximum(weight, np.float32(1e-6)), np.float32)
        own[:, band] = spectrogram.spectra(filter.denoised(samples, spectrogram.rate))[:, band]
    return torch.from_numpy(out).to(spectra.device)


def _grid(window: int, rate: int) -> Spectrogram:
    from ..audio.spectrogram import Spectrogram

    return Spectrogram(rate=rate, n_fft=window, hop=window // 4, low=0.0, high=None)  # pyright: ignore[reportArgumentType]
