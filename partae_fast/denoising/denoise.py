"""Denoising of audio in memory and of streams, by a mask over the recording's own spectrogram.

For the input x, with its own phase and each channel on its own:

    y = floor * x + back(istft((max(gain, floor) - floor) * stft(there(x))))

`there` and `back` resample to the model's rate and back. `gain` is the model's mask, 0 outside its bins. So
nothing is attenuated by more than `floor`, and what the model cannot see, bins outside its band and
frequencies above half its rate, is attenuated by exactly that. Where no reduction is given floor is 0, and
these are silenced. Of a model that estimates the signal s itself (`Estimator`), s takes the place of gain * stft(x)
wherever it is the louder of s and floor * stft(x).

Memory is bounded: frames go through the model in chunks, a chunk to each thread. A chunk starts on a multiple
of the pool and is given as many frames on either side as can change it, so that it gets the values that one pass
over the recording would give it.
"""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar, overload, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..audio.arrays import as_given, columns_of
from ..audio.files import RATE_LIMIT, require_finite
from ..audio.resample import resample_blocks
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..masking.mask import Mask, gain_of
from ..models.separation import SourceSeparator
from ..models.state import unwrapped
from . import stft
from .chunks import CHUNK, WHOLE, Audio, Chunks, Fifo

M = TypeVar("M")

PARTS = ("signal", "noise")
# Samples of the input that enter at a time.
BLOCK = 2**16


@runtime_checkable
class Extractor(Protocol):
    """What denoising asks of a model where its mask does not look at the noise, if the model has it."""

    def signal(self, x: torch.Tensor) -> torch.Tensor:
        """Magnitudes (B, N, H) -> the first of what `Separator.separate` gives."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """What denoising may ask of a model instead: the signal itself, for a mask cannot be had of it."""

    def estimate(self, spectra: torch.Tensor) -> torch.Tensor:
        """Spectra (channels, N, n_fft//2 + 1), complex -> the signal's, phases included; each channel on its own."""
        ...


@runtime_checkable
class Chunked(Protocol):
    """What a model says of the chunks that a stream is cut into, where its taps and pools do not say it."""

    @property
    def block(self) -> int:
        """Frames that chunks start at a multiple of."""
        ...

    @property
    def halo(self) -> int:
        """Frames on either side of a chunk that may change it, a multiple of `block`."""
        ...


class Separator(Protocol):
    """What denoising asks of a model."""

    pool: int
    taps: int
    spectrogram: Spectrogram | None
    mask: Mask | None

    def separate(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Magnitudes (B, N, H) -> what the foreground and what the background latents make of them."""
        ...


@overload
def denoise(
    audio: torch.Tensor, rate: int, model: Separator, part: str = "signal", reduction: float | None = None
) -> torch.Tensor: ...


@overload
def denoise(
    audio: ArrayLike, rate: int, model: Separator, part: str = "signal", reduction: float | None = None
) -> Audio: ...


def denoise(
    audio: ArrayLike | torch.Tensor,
    rate: int,
    model: Separator,
    part: str = "signal",
    reduction: float | None = None,
) -> Audio | torch.Tensor:
    """The signal in a recording, or its noise.

    Arguments:
        audio: floating-point samples (T,) or (T, channels), a NumPy array or a PyTorch tensor, full scale at 1; each
            channel is denoised on its own.
        rate: of the audio in Hz; resampled to the model's and back where it differs.
        model: with its spectrogram, as `train` or `load` gives it; its mask is `Mask()` where it has none. Where its
            weights are not float32, a copy of them in float32 is used.
        part: "signal", or "noise" for what is taken away: the two add up to the audio.
        reduction: the most that anything is attenuated, in dB, 0 or more; None for no limit.

    Returns a float32 array of the same shape; of a tensor a tensor of its type on its device, without a gradient.
    Silence stays silence; audio shorter than a window or a pool is treated as part of a recording with zeros around it;
    no samples give none. A peak above 100 logs a warning, as of integers that were cast to float and not scaled.

    Raises UserError for samples that are NaN or infinite (with the time of the first), not float or of
    another shape, for more channels than samples or than 64 (transpose such audio), and for an unknown part, a negative
    reduction, or a model without spectrogram; TypeError where `audio` is a list or a path or `model` is no model.
    """
    columns = columns_of(audio, "denoise")
    done = denoise_blocks(in_blocks(columns), rate, columns.shape[1], model, part, reduction)
    return as_given(np.concatenate([np.zeros((0, columns.shape[1]), np.float32), *done]), audio)


def in_blocks(columns: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Samples (T, channels) as a stream."""
    return (columns[start : start + BLOCK] for start in range(0, len(columns), BLOCK))


def require_rate(rate: float, verb: str) -> None:
    """Raise UserError unless the rate is a whole number of Hz that a recording may have."""
    if isinstance(rate, bool) or not math.isfinite(rate) or rate != int(rate) or not 1 <= rate <= RATE_LIMIT:
        raise UserError(f"{verb}: rate is {rate!r} Hz; it must be a whole number from 1 to {RATE_LIMIT}")


def denoise_blocks(
    blocks: Iterable[NDArray[np.floating]],
    rate: int,
    channels: int,
    model: Separator,
    part: str = "signal",
    reduction: float | None = None,
    chunk: int = CHUNK,
) -> Iterator[Audio]:
    """`denoise` for a stream: blocks (any length, channels) in, blocks of as many samples in all out.

    How the stream is cut into blocks changes no sample. `chunk` is how many frames the model gets at a time,
    rounded up to whole pools: a bound on memory, which changes no sample by more than rounding. Beyond 4 channels it
    gets fewer, down to 256. A model that is `whole` gets all frames at once: what it makes of one depends on them all.
    """
    if part not in PARTS:
        raise UserError(f"denoise: part is {part!r}; it must be {' or '.join(PARTS)}")
    if reduction is not None and not (math.isfinite(reduction) and reduction >= 0):
        raise UserError(f"denoise: reduction is {reduction} dB; it must be 0 or more, or left out for no limit")
    require_rate(rate, "denoise")
    model = computing(model, "denoise")
    if isinstance(model, SourceSeparator):
        raise UserError(f"denoise: the model takes a mixture apart into {', '.join(model.sources)}; use separate")
    if model.spectrogram is None:
        raise UserError("denoise: the model has no spectrogram; set model.spectrogram to that of its training")
    if rate / 2 <= model.spectrogram.low:
        raise UserError(
            f"denoise: a recording at {rate} Hz ends at {rate / 2:g} Hz, where the model's band has not begun: it "
            f"listens from {model.spectrogram.low:g} to {model.spectrogram.high:g} Hz; take a model that was trained "
            "on such recordings"
        )
    floor = 0.0 if reduction is None else 10.0 ** (-reduction / 20)
    chunk = WHOLE if getattr(model, "whole", False) else chunk
    weighting = _Weighting(model, model.spectrogram, channels, floor, chunk)
    return _stream(blocks, int(rate), weighting, floor, part)


def _stream(
    blocks: Iterable[NDArray[np.floating]], rate: int, weighting: "_Weighting", floor: float, part: str
) -> Iterator[Audio]:
    channels, model_rate = weighting.channels, weighting.spectrogram.rate
    changed_alone = floor == 0 and part == "signal" and rate == model_rate
    inputs, changes = Fifo(channels), Fifo(channels)

    def remembered() -> Iterator[Audio]:
        seen = 0
        for block in blocks:
            require_finite(block, rate, "denoise", first=seen)
            seen += len(block)
            block = np.asarray(block, np.float32)
            if not changed_alone:
                inputs.push(block)
            yield block

    def combined(count: int, change: Audio) -> Audio:
        x = inputs.take(count)
        y = np.float32(floor) * x + change
        return x - y if part == "noise" else y

    there = resample_blocks(remembered(), rate, model_rate, channels)
    if changed_alone:
        yield from weighting.process(there)
        return
    for block in resample_blocks(weighting.process(there), model_rate, rate, channels):
        changes.push(block)
        count = min(len(inputs), len(changes))
        yield combined(count, changes.take(count))
    # There and back can lose the last sample to rounding.
    yield combined(len(inputs), np.zeros((len(inputs), channels), np.float32))


def chunking(model: Separator) -> tuple[int, int]:
    """Frames that chunks start at a multiple of, and frames on either side that may change a chunk.

    They are the model's `block` and `halo` where it has them. Else a frame takes from windows that reach into the
    taps - 1 frames around it, these windows depend on taps - 1 frames around them, and its gain on the frames that the
    mask takes means over; each of the three is rounded up to whole pools.
    """
    if isinstance(model, Chunked):
        return model.block, model.halo
    reach = (model.taps - 1, model.taps - 1, (model.mask or Mask()).reach)
    return model.pool, sum(-(-frames // model.pool) * model.pool for frames in reach)


class _Weighting(Chunks):
    """The part between the two resamplings: istft((max(gain, floor) - floor) * stft(x)), chunk by chunk."""

    def __init__(self, model: Separator, spectrogram: Spectrogram, channels: int, floor: float, chunk: int):
        block, halo = chunking(model)
        super().__init__(spectrogram, channels, channels, chunk, block, halo)
        self.model = model
        self.floor = np.float32(floor)
        self.device = device_of(model)

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        """Samples of a chunk and its halo -> both sums of its frames, (T, channels) and (T, 1); its frames' number."""
        if isinstance(self.model, Estimator):
            total = self._estimated(self.model, samples, before, count)
        else:
            total = self._masked(samples, before, count)
        if total is None:
            raise UserError("denoise: the model reconstructs NaN; train it again, or lower the level of the audio")
        return np.ascontiguousarray(total.T), self.spectrogram.weight(count)[:, None], count

    def _masked(self, samples: Audio, before: int, count: int) -> Audio | None:
        """The sum (channels, T) of a chunk's own frames, weighted by the mask; None where that is not finite."""
        spectra, x = stft.analyse(samples, self.spectrogram)
        given, mask = torch.from_numpy(x).to(self.device), self.model.mask or Mask()
        with torch.no_grad():
            if not mask.background and isinstance(self.model, Extractor):
                signal = noise = self.model.signal(given)
            else:
                signal, noise = self.model.separate(given)
        gain = gain_of(self.model, x, signal.float().cpu().numpy(), noise.float().cpu().numpy())
        own = gain[:, before : before + count]
        return stft.synthesise(spectra, own, self.spectrogram, float(self.floor), before)

    def _estimated(self, model: Estimator, samples: Audio, before: int, count: int) -> Audio | None:
        """The same of the signal that the model estimates, without what the floor lets pass of the recording."""
        spectra = np.stack([self.spectrogram.spectra(channel) for channel in samples.T])
        own = slice(before, before + count)
        with torch.no_grad():
            signal = model.estimate(torch.from_numpy(spectra).to(self.device)).cpu().numpy()[:, own]
        if not np.isfinite(signal).all():
            return None
        if self.floor:
            heard = self.floor * spectra[:, own]
            signal = np.where(np.abs(signal) > np.abs(heard), signal - heard, np.complex64(0))
        return np.stack([self.spectrogram.overlap_add(channel)[0] for channel in signal])


def computing(model: M, caller: str) -> M:
    """Return a model without its wrapper, in float32.

    Raises TypeError for what is no model; `caller` begins the message.
    """
    model = unwrapped(model, caller)
    if not hasattr(model, "spectrogram"):
        raise TypeError(
            f"{caller}: model is a {type(model).__name__}; give a trained model, as pf.load and pf.fit return it"
        )
    types = {tensor.dtype for tensor in _tensors(model) if tensor.is_floating_point()}
    return model if types <= {torch.float32} else copy.deepcopy(model).float()  # pyright: ignore


def device_of(model: Any) -> torch.device:
    """Where the model's weights are; the CPU for one that has none."""
    return next((tensor.device for tensor in _tensors(model)), torch.device("cpu"))


def _tensors(model: Any) -> Iterable[torch.Tensor]:
    return itertools.chain(model.parameters(), model.buffers()) if isinstance(model, torch.nn.Module) else ()
