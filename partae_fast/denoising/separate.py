"""A mixture taken apart into its sources by ratio masks: audio in memory, streams and files.

Of the mixture x, whose channels share one mask, made of the mean of the channels:

    y_s = back(istft(mask_s * stft(there(x)))) + rest / sources,    rest = x - sum of the first terms

`there` and `back` resample to the model's rate and back; what is lost on the way, frequencies above half of that rate,
is shared out equally, so that the sources add up to the mixture. Phases are the mixture's. Grais & Plumbley 2017.
Which sources there are and what their masks are, the model says: see `partae_fast.models.separation.Separation`.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, overload, runtime_checkable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from ..atomic import check_writable
from ..audio.arrays import columns_of, shaped_like
from ..audio.files import FORMATS, AudioInfo, PathLike, blocks, info, require_finite, writing
from ..audio.resample import resample_blocks
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..models.separation import Separation
from ..models.state import unwrapped
from .chunks import CHUNK, WHOLE, Audio, Chunks, Fifo
from .denoise import computing, device_of, in_blocks, require_rate
from .files import block_size, require_unchanged, with_less_at_a_time

# What may become of samples beyond full scale: a file that was scaled would no longer add up with the others.
CLIPPING = ("clip", "float")


@runtime_checkable
class Separator(Protocol):
    """What separation asks of a model."""

    spectrogram: Spectrogram | None

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """How it takes a mixture apart; UserError for a step or a number of sources that it cannot have."""
        ...


@overload
def separate(
    audio: torch.Tensor, rate: int, model: Separator, step: int | None = None, count: int | None = None
) -> dict[str, torch.Tensor]: ...


@overload
def separate(
    audio: ArrayLike, rate: int, model: Separator, step: int | None = None, count: int | None = None
) -> dict[str, Audio]: ...


def separate(
    audio: ArrayLike | torch.Tensor,
    rate: int,
    model: Separator,
    step: int | None = None,
    count: int | None = None,
) -> dict[str, Audio] | dict[str, torch.Tensor]:
    """The sources of a mixture by their names, which add up to it.

    Arguments:
        audio: floating-point samples (T,) or (T, channels) of the mixture, a NumPy array or a PyTorch tensor, full
            scale at 1; all channels share a mask.
        rate: of the audio in Hz; resampled to the model's and back where it differs.
        model: with its spectrogram, as `train` or `load` gives it. Where its weights are not float32, a copy of them
            in float32 is used.
        step: frames from one segment to the next, which divides a segment's; None, as in the paper: side by side. Where
            it is less, what overlapping segments say of a frame is averaged. For models that look at segments.
        count: of sources, where the model can tell any number of them apart; they are called source1 and so on then,
            and have no order. None for the sources that the model knows.

    Returns float32 arrays of the same shape; of a tensor tensors of its type on its device, without a gradient.
    Silence stays silence, and no samples give none. A peak above 100 logs a warning, as of integers that were cast to
    float and not scaled.

    Raises UserError for samples that are NaN or infinite, not float or of another shape, for more channels than samples
    or than 64 (transpose such audio), for a step that does not divide, for a count that the model cannot have, and for
    a model that is no separator or has no spectrogram; TypeError where `audio` is a list or a path or `model` a path.
    """
    columns, sources = columns_of(audio, "separate"), separation_of(model, step, count).sources
    parts = list(separate_blocks(in_blocks(columns), rate, columns.shape[1], model, step, count=count))
    nothing = np.zeros((len(sources), 0, columns.shape[1]), np.float32)
    whole = np.concatenate([nothing, *parts], axis=1)
    return {source: shaped_like(part, audio) for source, part in zip(sources, whole, strict=True)}


def separate_blocks(
    stream: Iterable[NDArray[np.floating]],
    rate: int,
    channels: int,
    model: Separator,
    step: int | None = None,
    chunk: int = CHUNK,
    count: int | None = None,
) -> Iterator[Audio]:
    """`separate` for a stream: blocks (t, channels) in, blocks (sources, t, channels) of as many samples in all out.

    How the stream is cut into blocks changes no sample. `chunk` is how many frames the model gets at a time, rounded up
    to whole segments: a bound on memory, which changes no sample by more than rounding. A model whose separation is
    `whole` gets all frames at once.
    """
    require_rate(rate, "separate")
    model = computing(model, "separate")
    how = separation_of(model, step, count)
    if model.spectrogram is None:
        raise UserError("separate: the model has no spectrogram; set model.spectrogram to that of its training")
    sharing = _Sharing(how, model.spectrogram, channels, WHOLE if how.whole_recording else chunk, device_of(model))
    return _stream(stream, int(rate), sharing)


def separation_of(model: Any, step: int | None = None, count: int | None = None) -> Separation:
    """How a model takes a mixture apart; UserError for one that does not, or not so."""
    model = unwrapped(model, "separate")
    if not isinstance(model, Separator):
        raise UserError("separate: the model does not take a mixture apart into sources; use denoise")
    return model.separation(step, count)


def separate_file(
    model: Separator,
    source: PathLike,
    folder: PathLike,
    step: int | None = None,
    overwrite: bool = False,
    clipping: str = "clip",
    chunk: int = CHUNK,
    tell: Callable[[float], None] | None = None,
    count: int | None = None,
) -> tuple[dict[str, Path], AudioInfo]:
    """Separate a file into one for each source; samples are those of `separate` of the whole.

    Memory is bounded, but for models whose separation is `whole`.

    Arguments:
        source: anything that libsndfile reads, at any rate, with any number of channels.
        folder: for the files, called as the sources are; made if it is not there. Format (of one that is not written
            here: WAV), rate, channels, length, tags and, where the format has it, subtype are the source's.
        step, count: as for `separate`. overwrite: whether files that exist are replaced.
        clipping: of samples beyond full scale where integers are written: "clip", or "float" to write floats instead.
        chunk: frames that the model gets at a time; fewer where memory runs out, as in `denoise_file`.
        tell: called now and then with the share of the file that is done, 0 .. 1.

    Returns the files by their sources, and what the source's header says, with the number of frames that there were.

    Raises UserError as `separate`, `audio.files.read` and `audio.files.writing` do, and where the source changes while
    it is read; no file appears then.
    """
    about, before = info(source), os.stat(source)
    targets = targets_of(separation_of(model, step, count).sources, source, folder, overwrite)

    def attempt(chunk: int) -> int:
        """How many frames were written."""
        with contextlib.ExitStack() as open_files:
            kept = (about.rate, about.channels, about.frames, about.subtype, overwrite, clipping, about.tags)
            writers = [open_files.enter_context(writing(target, *kept)) for target in targets.values()]
            pieces = blocks(source, block_size(chunk, about.channels))
            for parts in separate_blocks(pieces, about.rate, about.channels, model, step, chunk, count):
                for writer, part in zip(writers, parts, strict=True):
                    writer.write(part)
                if tell:
                    tell(min(1.0, writers[0].frames / about.frames))
            require_unchanged(source, before)
        return writers[0].frames

    return targets, replace(about, frames=with_less_at_a_time(attempt, chunk, about))


def targets_of(sources: Iterable[str], source: PathLike, folder: PathLike, overwrite: bool) -> dict[str, Path]:
    """The file of each source, in a folder that is made; UserError where one cannot be written, or is the input."""
    suffix = Path(source).suffix
    suffix = suffix if suffix.lower() in FORMATS else ".wav"
    targets = {name: Path(folder) / f"{name}{suffix}" for name in sources}
    try:
        Path(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be a folder: {error.strerror}; name another with --out") from error
    for target in targets.values():
        if target.exists() and target.samefile(source):
            raise UserError(f"{target}: is the input itself; write to another folder")
        check_writable(target, overwrite)
    return targets


def _stream(stream: Iterable[NDArray[np.floating]], rate: int, sharing: "_Sharing") -> Iterator[Audio]:
    channels, model_rate = sharing.channels, sharing.spectrogram.rate
    inputs, made = Fifo(channels), Fifo(sharing.outputs)

    def remembered() -> Iterator[Audio]:
        seen = 0
        for block in stream:
            require_finite(block, rate, "separate", first=seen)
            seen += len(block)
            block = np.asarray(block, np.float32)
            inputs.push(block)
            yield block

    def shared_out(count: int, parts: Audio) -> Audio:
        """Parts (t, sources * channels) and an equal share for each of what they leave, (sources, t, channels)."""
        x = inputs.take(count)
        sources = np.ascontiguousarray(parts.reshape(count, sharing.outputs // channels, channels).transpose(1, 0, 2))
        sources += (x - sources.sum(axis=0)) / np.float32(len(sources))
        sources[-1] = x - sources[:-1].sum(axis=0)  # but for this they would add up to the mixture but for rounding
        return sources

    there = resample_blocks(remembered(), rate, model_rate, channels)
    for block in resample_blocks(sharing.process(there), model_rate, rate, sharing.outputs):
        made.push(block)
        count = min(len(inputs), len(made))
        yield shared_out(count, made.take(count))
    # There and back can lose the last sample to rounding.
    yield shared_out(len(inputs), np.zeros((len(inputs), sharing.outputs), np.float32))


class _Sharing(Chunks):
    """The part between the two resamplings: istft(mask_s * stft(x)) of each source, chunk by chunk."""

    def __init__(
        self, how: Separation, spectrogram: Spectrogram, channels: int, chunk: int, device: torch.device
    ) -> None:
        super().__init__(spectrogram, channels, len(how.sources) * channels, chunk, how.frames, how.halo)
        self.masks, self.device = how.masks, device

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        own = slice(before, before + count)
        spectra = np.stack([self.spectrogram.spectra(channel) for channel in samples.T])
        x = np.abs(spectra.mean(axis=0)) * np.float32(self.spectrogram.gain)
        with torch.no_grad():
            masks: Any = self.masks(torch.from_numpy(x).to(self.device))[:, own].cpu().numpy()
        if not np.isfinite(masks).all():
            raise UserError("separate: the model estimates NaN; train it again, or lower the level of the audio")
        shares = (masks[:, None] * spectra[None, :, own]).reshape(-1, count, spectra.shape[2])
        total = np.stack([self.spectrogram.overlap_add(share)[0] for share in shares])
        return np.ascontiguousarray(total.T), self.spectrogram.weight(count)[:, None], count
