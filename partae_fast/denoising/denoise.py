"""Denoise audio in memory and in streams, with a mask on the spectrogram of the recording.

Each channel x of the input is denoised separately, with its own phase:

    y = floor * x + from_model_rate(istft((max(gain, floor) - floor) * stft(to_model_rate(x))))

Where an offset would leak into the band, x is without it inside the istft; see `audio.offset`. The gain is the model's
mask, and 0 outside its band, so frequencies that the model does not cover are attenuated by
exactly `floor` and all others by at most `floor`, which is 0 without a `reduction`. If the model estimates the signal s
itself (`SpectrumEstimator`), s replaces gain * stft(x) wherever it is louder than floor * stft(x). x is continued
beyond both ends by its mirror image, and y is cut to its length; see `edges`.
"""

import copy
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar, overload

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..audio.arrays import columns_of, shaped_like
from ..audio.files import RATE_LIMIT, require_finite
from ..audio.offset import offset_window, without_offset
from ..audio.resample import resample_blocks
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..masking.mask import Mask, gain_of
from ..models.protocol import Chunked, Model, SignalEstimator, SpectrumEstimator
from ..models.separation import SourceSeparator
from ..models.state import unwrapped
from . import stft
from .chunks import ALL_FRAMES, CHUNK, Audio, ChunkProcessor, SampleQueue
from .edges import Edges

M = TypeVar("M")

PARTS = ("signal", "noise")
# Samples of an array that are processed at a time.
BLOCK = 2**16


@overload
def denoise(
    audio: torch.Tensor, rate: int, model: Model, part: str = "signal", reduction: float | None = None
) -> torch.Tensor: ...


@overload
def denoise(
    audio: ArrayLike, rate: int, model: Model, part: str = "signal", reduction: float | None = None
) -> Audio: ...


def denoise(
    audio: ArrayLike | torch.Tensor,
    rate: int,
    model: Model,
    part: str = "signal",
    reduction: float | None = None,
) -> Audio | torch.Tensor:
    """Return the signal of a recording, or its noise.

    Arguments:
        audio: floating-point samples (T,) or (T, channels), a NumPy array or a PyTorch tensor, with full scale at 1.
            Each channel is denoised separately.
        rate: sample rate of the audio in Hz. Audio at another rate than the model's is resampled to it and back.
        model: trained model with a spectrogram, from `pf.fit` or `pf.load`. A model without a mask gets `Mask()`. A
            model in another type than float32 is copied to float32.
        part: "signal", or "noise" for the removed noise; the two sum to the audio.
        reduction: largest attenuation in dB, 0 or more; None for no limit.

    Returns a float32 array of the same shape or, for a tensor, a tensor of its type on its device without a gradient.
    Audio of any length is accepted. Silence stays silent. A peak above 100, as from integers
    that were cast to float and not scaled, logs a warning.

    Raises UserError for samples that are NaN or infinite (with the time of the first), not floating-point or of another
    shape; for more channels than samples or than 64; and for an unknown part, a negative reduction or a model without a
    spectrogram. Raises TypeError if `audio` is a list or a path, or if `model` is not a model.
    """
    columns = columns_of(audio, "denoise")
    denoised = denoise_blocks(split_blocks(columns), rate, columns.shape[1], model, part, reduction)
    return shaped_like(np.concatenate([np.zeros((0, columns.shape[1]), np.float32), *denoised]), audio)


def split_blocks(columns: NDArray[np.floating]) -> Iterator[NDArray[np.floating]]:
    """Yield samples (T, channels) in blocks."""
    return (columns[start : start + BLOCK] for start in range(0, len(columns), BLOCK))


def require_rate(rate: float, caller: str) -> None:
    """Raise UserError, whose message begins with `caller`, unless the rate is a whole number of Hz in range."""
    if isinstance(rate, bool) or not math.isfinite(rate) or rate != int(rate) or not 1 <= rate <= RATE_LIMIT:
        raise UserError(f"{caller}: rate is {rate!r} Hz; it must be a whole number from 1 to {RATE_LIMIT}")


def denoise_blocks(
    blocks: Iterable[NDArray[np.floating]],
    rate: int,
    channels: int,
    model: Model,
    part: str = "signal",
    reduction: float | None = None,
    chunk: int = CHUNK,
) -> Iterator[Audio]:
    """Denoise a stream of blocks (t, channels) as `denoise` does; yield blocks with as many samples in total.

    The sizes of the blocks do not affect the samples. `chunk` is the number of frames that the model processes at a
    time, rounded up to whole pools; a `Chunked` model processes twice as many. It bounds the memory and changes samples
    by rounding errors only. With more than 4 channels chunks are shorter, down to 256 frames. A model with
    `needs_whole_recording` gets all frames at once.
    """
    if part not in PARTS:
        raise UserError(f"denoise: part is {part!r}; it must be {' or '.join(PARTS)}")
    if reduction is not None and not (math.isfinite(reduction) and reduction >= 0):
        raise UserError(f"denoise: reduction is {reduction} dB; it must be 0 or more, or left out for no limit")
    require_rate(rate, "denoise")
    model = float32_model(model, "denoise")
    if isinstance(model, SourceSeparator):
        raise UserError(f"denoise: the model separates a mixture into {', '.join(model.sources)}; use separate")
    if model.spectrogram is None:
        raise UserError("denoise: the model has no spectrogram; set model.spectrogram to that of its training")
    if rate / 2 <= model.spectrogram.low:
        raise UserError(
            f"denoise: a recording at {rate} Hz ends at {rate / 2:g} Hz, below the model's band from "
            f"{model.spectrogram.low:g} to {model.spectrogram.high:g} Hz; use a model trained at this rate"
        )
    floor = 0.0 if reduction is None else 10.0 ** (-reduction / 20)
    if getattr(model, "needs_whole_recording", False):
        chunk = ALL_FRAMES
    elif isinstance(model, Chunked):
        chunk *= 2  # because its halo is long, and is processed twice
    masking = _Masking(model, model.spectrogram, channels, floor, chunk)
    return _denoise_stream(blocks, int(rate), masking, floor, part)


def _denoise_stream(
    blocks: Iterable[NDArray[np.floating]], rate: int, masking: "_Masking", floor: float, part: str
) -> Iterator[Audio]:
    """Yield the output for a stream, with resampling and the floor; see the module's formula."""
    channels, model_rate = masking.channels, masking.spectrogram.rate
    needs_input = floor != 0 or part != "signal" or rate != model_rate
    inputs, masked = SampleQueue(channels), SampleQueue(channels)
    edges = edges_of(masking.model, rate)

    def extended() -> Iterator[Audio]:
        for block in edges.extend(checked(blocks, rate, "denoise")):
            if needs_input:
                inputs.push(block)
            yield block

    def combine(count: int, masked_block: Audio) -> Audio:
        x = inputs.take(count)
        y = np.float32(floor) * x + masked_block
        return x - y if part == "noise" else y

    def combined() -> Iterator[Audio]:
        for block in resample_blocks(masking.process(at_model_rate), model_rate, rate, channels):
            masked.push(block)
            count = min(len(inputs), len(masked))
            yield combine(count, masked.take(count))
        # Resampling to the model's rate and back can lose the last sample to rounding.
        yield combine(len(inputs), np.zeros((len(inputs), channels), np.float32))

    at_model_rate = resample_blocks(extended(), rate, model_rate, channels)
    at_model_rate = without_offset(at_model_rate, offset_window(masking.spectrogram))
    return edges.cut(combined() if needs_input else masking.process(at_model_rate))


def edges_of(model: Model, rate: int) -> Edges:
    """Return the ends of a recording for a model with a spectrogram."""
    # The halo of a `Chunked` model is the memory of its filter, which fades.
    reach = model.window if isinstance(model, Chunked) else chunking(model)[1] * model.spectrogram.hop
    return Edges(model.spectrogram, rate, model.pool, reach)


def checked(blocks: Iterable[NDArray[np.floating]], rate: int, caller: str) -> Iterator[Audio]:
    """Yield blocks as float32; raise UserError, whose message begins with `caller`, if a sample is not finite."""
    position = 0
    for block in blocks:
        require_finite(block, rate, caller, first=position)
        position += len(block)
        yield np.asarray(block, np.float32)


def chunking(model: Model) -> tuple[int, int]:
    """Return the frames that chunks start at a multiple of, and those on either side that may change a chunk.

    They are `block` and `halo` of a `Chunked` model. In other models a decoded frame depends on pool windows up to
    taps - 1 frames away, an encoded window depends on input frames up to taps - 1 frames away, and a gain depends on
    the mask's reach. Each is rounded up to whole pools.
    """
    if isinstance(model, Chunked):
        return model.block, model.halo
    reach = (model.taps - 1, model.taps - 1, (model.mask or Mask()).reach)
    return model.pool, sum(-(-frames // model.pool) * model.pool for frames in reach)


class _Masking(ChunkProcessor):
    """Processor of the model's rate: istft((max(gain, floor) - floor) * stft(x)), in chunks."""

    def __init__(self, model: Model, spectrogram: Spectrogram, channels: int, floor: float, chunk: int):
        block, halo = chunking(model)
        super().__init__(spectrogram, channels, channels, chunk, block, halo)
        self.model = model
        self.floor = np.float32(floor)
        self.device = device_of(model)

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        if isinstance(self.model, SpectrumEstimator):
            total = self._estimated_frames(self.model, samples, before, count)
        else:
            total = self._masked_frames(samples, before, count)
        if total is None:
            raise UserError("denoise: the model reconstructs NaN; train it again, or lower the level of the audio")
        return np.ascontiguousarray(total.T), self.spectrogram.weight(count)[:, None], count

    def _masked_frames(self, samples: Audio, before: int, count: int) -> Audio | None:
        """Return the overlap-added frames (channels, T) of a chunk after masking, or None if they are not finite."""
        spectra, magnitudes = stft.analyse(samples, self.spectrogram)
        x, mask = torch.from_numpy(magnitudes).to(self.device), self.model.mask or Mask()
        with torch.no_grad():
            if not mask.background and isinstance(self.model, SignalEstimator):
                signal = noise = self.model.signal(x)
            else:
                signal, noise = self.model.separate(x)
        gain = gain_of(self.model, magnitudes, signal.float().cpu().numpy(), noise.float().cpu().numpy())
        return stft.synthesise(spectra, gain[:, before : before + count], self.spectrogram, float(self.floor), before)

    def _estimated_frames(self, model: SpectrumEstimator, samples: Audio, before: int, count: int) -> Audio | None:
        """Return the overlap-added frames (channels, T) of the estimated signal minus the floor, or None."""
        spectra = np.stack([self.spectrogram.spectra(channel) for channel in samples.T])
        frames = slice(before, before + count)
        with torch.no_grad():
            signal = model.estimate(torch.from_numpy(spectra).to(self.device)).cpu().numpy()[:, frames]
        if not np.isfinite(signal).all():
            return None
        if self.floor:
            floor = self.floor * spectra[:, frames]
            louder = np.abs(signal) > np.abs(floor) if self.floor < 1 else False  # 0 dB of reduction change nothing
            signal = np.where(louder, signal - floor, np.complex64(0))
        return np.stack([self.spectrogram.overlap_add(channel)[0] for channel in signal])


def float32_model(model: M, caller: str) -> M:
    """Return a model without its wrapper, or a copy of it in float32 if it has another type.

    Raises TypeError, whose message begins with `caller`, if `model` is not a model.
    """
    model = unwrapped(model, caller)
    if not hasattr(model, "spectrogram"):
        raise TypeError(
            f"{caller}: model is a {type(model).__name__}; pass a trained model, as pf.load and pf.fit return it"
        )
    types = {tensor.dtype for tensor in _tensors(model) if tensor.is_floating_point()}
    return model if types <= {torch.float32} else copy.deepcopy(model).float()  # pyright: ignore


def device_of(model: Any) -> torch.device:
    """Return the device of the model's weights, or the CPU if it has none."""
    return next((tensor.device for tensor in _tensors(model)), torch.device("cpu"))


def _tensors(model: Any) -> Iterable[torch.Tensor]:
    return itertools.chain(model.parameters(), model.buffers()) if isinstance(model, torch.nn.Module) else ()
