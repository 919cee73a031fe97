"""Separate mixtures into their sources with ratio masks, in memory, in streams and in files.

    z_s = from_model_rate(istft(mask_s * stft(to_model_rate(x)))),    y_s = z_s + (x - sum of all z_s) / sources

All channels of the mixture x share the masks, which are computed from their mean; phases are the mixture's. The
remainder, such as frequencies above half the model's rate, is divided equally, so the sources sum to the mixture (Grais
& Plumbley 2017). x is continued beyond both ends as in `denoise`.
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
from ..audio.files import FORMATS, AudioInfo, PathLike, blocks, info
from ..audio.offset import offset_window, without_offset
from ..audio.resample import resample_blocks
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from ..models.separation import Separation
from ..models.state import unwrapped
from .chunks import ALL_FRAMES, CHUNK, Audio, ChunkProcessor, SampleQueue
from .denoise import checked, device_of, float32_model, require_rate, split_blocks
from .edges import Edges
from .files import block_size, require_unchanged, retry_with_smaller_chunks, version, writing_like

# How samples beyond full scale are written; scaled files would no longer sum to the mixture.
CLIPPING = ("clip", "float")


@runtime_checkable
class SeparationModel(Protocol):
    """Model that `separate` accepts."""

    spectrogram: Spectrogram | None

    def separation(self, step: int | None = None, count: int | None = None) -> Separation:
        """Return the sources and their masks; raise UserError for a step or a count that the model does not support."""
        ...


@overload
def separate(
    audio: torch.Tensor, rate: int, model: SeparationModel, step: int | None = None, count: int | None = None
) -> dict[str, torch.Tensor]: ...


@overload
def separate(
    audio: ArrayLike, rate: int, model: SeparationModel, step: int | None = None, count: int | None = None
) -> dict[str, Audio]: ...


def separate(
    audio: ArrayLike | torch.Tensor,
    rate: int,
    model: SeparationModel,
    step: int | None = None,
    count: int | None = None,
) -> dict[str, Audio] | dict[str, torch.Tensor]:
    """Return the sources of a mixture by name; they sum to the mixture.

    Arguments:
        audio: floating-point samples (T,) or (T, channels) of the mixture, a NumPy array or a PyTorch tensor, with full
            scale at 1. All channels share the masks.
        rate: sample rate of the audio in Hz. Audio at another rate than the model's is resampled to it and back.
        model: trained model with a spectrogram, from `pf.fit` or `pf.load`. A model in another type than float32 is
            copied to float32.
        step: frames between segments, a divisor of the frames in a segment, for models that process segments. The
            estimates of overlapping segments are averaged. None for adjacent segments, as in the paper.
        count: number of sources, for models that separate any number of sources; these are named source1, source2 ...
            in no particular order. None for the sources of the model.

    Returns float32 arrays of the same shape or, for a tensor, tensors of its type on its device without a gradient.
    Silence stays silent. A peak above 100, as from integers that were cast to float and not scaled, logs a warning.

    Raises UserError for samples that are NaN or infinite, not floating-point or of another shape; for more channels
    than samples or than 64; for a step or a count that the model does not support; and for a model that does not
    separate mixtures or has no spectrogram. Raises TypeError if `audio` is a list or a path, or if `model` is a path.
    """
    columns, sources = columns_of(audio, "separate"), separation_for(model, step, count).sources
    blocks = list(separate_blocks(split_blocks(columns), rate, columns.shape[1], model, step, count=count))
    empty = np.zeros((len(sources), 0, columns.shape[1]), np.float32)
    parts = np.concatenate([empty, *blocks], axis=1)
    return {source: shaped_like(part, audio) for source, part in zip(sources, parts, strict=True)}


def separate_blocks(
    stream: Iterable[NDArray[np.floating]],
    rate: int,
    channels: int,
    model: SeparationModel,
    step: int | None = None,
    chunk: int = CHUNK,
    count: int | None = None,
) -> Iterator[Audio]:
    """Separate a stream of blocks (t, channels) as `separate` does; yield blocks (sources, t, channels).

    The sizes of the blocks do not affect the samples. `chunk` is the number of frames that the model processes at a
    time, rounded up to whole segments; it bounds the memory and changes samples by rounding errors only. A model whose
    separation has `whole_recording` gets all frames at once.
    """
    require_rate(rate, "separate")
    model = float32_model(model, "separate")
    separation = separation_for(model, step, count)
    if model.spectrogram is None:
        raise UserError("separate: the model has no spectrogram; set model.spectrogram to that of its training")
    chunk = ALL_FRAMES if separation.whole_recording else chunk
    masking = _SourceMasking(separation, model.spectrogram, channels, chunk, device_of(model))
    return _separate_stream(stream, int(rate), masking)


def separation_for(model: Any, step: int | None = None, count: int | None = None) -> Separation:
    """Return a model's separation; raise UserError if it has none or does not support the arguments."""
    model = unwrapped(model, "separate")
    if not isinstance(model, SeparationModel):
        raise UserError("separate: the model does not separate mixtures into sources; use denoise")
    return model.separation(step, count)


def separate_file(
    model: SeparationModel,
    source: PathLike,
    folder: PathLike,
    step: int | None = None,
    overwrite: bool = False,
    clipping: str = "clip",
    chunk: int = CHUNK,
    progress_callback: Callable[[float], None] | None = None,
    count: int | None = None,
) -> tuple[dict[str, Path], AudioInfo]:
    """Separate a file into one file per source; the samples are those of `separate`.

    Memory is bounded, except for models whose separation has `whole_recording`.

    Arguments:
        model: trained model.
        source: any file that libsndfile reads, at any rate and with any number of channels.
        folder: folder for the files, which are named after the sources; created if it does not exist. Rate, channels,
            length, tags, metadata chunks, the time of change and, if possible, format and subtype are those of
            `source`; a format that cannot be written is replaced by WAV.
        step, count: see `separate`.
        overwrite: replace existing files.
        clipping: how samples beyond full scale are written as integers: "clip" clips them, "float" writes floats.
        chunk: frames that the model processes at a time, reduced if memory runs out; see `denoise_file`.
        progress_callback: called repeatedly with the share of the file that is done, 0 .. 1.

    Returns the path of each source's file, and the header of the source with the number of frames that were read.

    Raises the errors of `separate`, `audio.files.read` and `audio.files.writing`, and UserError if the source changes
    while it is read. An error leaves no files.
    """
    header, before = info(source), os.stat(source)
    targets = _output_paths(separation_for(model, step, count).sources, source, folder, overwrite)

    note = f"separated with partae_fast {version()}"

    def separate_in_chunks(chunk: int) -> int:
        """Separate the file; return the number of frames."""
        with contextlib.ExitStack() as open_files:
            writers = [
                open_files.enter_context(writing_like(header, target, overwrite, clipping, f"{name} {note}"))
                for name, target in targets.items()
            ]
            inputs = blocks(source, block_size(chunk, header.channels))
            for parts in separate_blocks(inputs, header.rate, header.channels, model, step, chunk, count):
                for writer, part in zip(writers, parts, strict=True):
                    writer.write(part)
                if progress_callback:
                    progress_callback(min(1.0, writers[0].frames / header.frames))
            require_unchanged(source, before)
        return writers[0].frames

    frames = retry_with_smaller_chunks(separate_in_chunks, chunk, header)
    for target in targets.values():  # as for denoised files
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    return targets, replace(header, frames=frames)


def _output_paths(sources: Iterable[str], source: PathLike, folder: PathLike, overwrite: bool) -> dict[str, Path]:
    """Create the folder and return each source's path; raise UserError if one is the input or cannot be written."""
    suffix = Path(source).suffix
    suffix = suffix if suffix.lower() in FORMATS else ".wav"
    targets = {name: Path(folder) / f"{name}{suffix}" for name in sources}
    try:
        Path(folder).mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be created: {error.strerror}; choose another folder with --out") from error
    for target in targets.values():
        if target.is_symlink():
            raise UserError(f"{target}: is a symbolic link, and outputs are written to {folder} alone; remove it")
        if target.exists() and target.samefile(source):
            raise UserError(f"{target}: is the input itself; write to another folder")
        check_writable(target, overwrite)
    return targets


def _separate_stream(stream: Iterable[NDArray[np.floating]], rate: int, masking: "_SourceMasking") -> Iterator[Audio]:
    """Yield the sources of a stream, with resampling and the remainder; see the module's formula."""
    channels, model_rate = masking.channels, masking.spectrogram.rate
    inputs, masked = SampleQueue(channels), SampleQueue(masking.outputs)
    edges = Edges(masking.spectrogram, rate, masking.frames, masking.halo * masking.spectrogram.hop)

    def extended() -> Iterator[Audio]:
        for block in edges.extend(checked(stream, rate, "separate")):
            inputs.push(block)
            yield block

    def add_remainder(count: int, parts: Audio) -> Audio:
        """Return the sources (sources, t, channels) for their masked parts (t, sources * channels)."""
        x = inputs.take(count)
        sources = np.ascontiguousarray(parts.reshape(count, masking.outputs // channels, channels).transpose(1, 0, 2))
        sources += (x - sources.sum(axis=0)) / np.float32(len(sources))
        sources[-1] = x - sources[:-1].sum(axis=0)  # removes the rounding error of the sum
        return sources

    def separated() -> Iterator[Audio]:
        at_model_rate = resample_blocks(extended(), rate, model_rate, channels)
        at_model_rate = without_offset(at_model_rate, offset_window(masking.spectrogram))
        for block in resample_blocks(masking.process(at_model_rate), model_rate, rate, masking.outputs):
            masked.push(block)
            count = min(len(inputs), len(masked))
            yield add_remainder(count, masked.take(count))
        # Resampling to the model's rate and back can lose the last sample to rounding.
        yield add_remainder(len(inputs), np.zeros((len(inputs), masking.outputs), np.float32))

    return edges.cut(separated())


class _SourceMasking(ChunkProcessor):
    """Processor of the model's rate: istft(mask_s * stft(x)) for each source, in chunks."""

    def __init__(
        self, separation: Separation, spectrogram: Spectrogram, channels: int, chunk: int, device: torch.device
    ) -> None:
        outputs = len(separation.sources) * channels
        super().__init__(spectrogram, channels, outputs, chunk, separation.frames, separation.halo)
        self.masks, self.frames, self.device = separation.masks, separation.frames, device

    def sums(self, samples: Audio, before: int, count: int) -> tuple[Audio, Audio, int]:
        frames = slice(before, before + count)
        spectra = np.stack([self.spectrogram.spectra(channel) for channel in samples.T])
        x = np.abs(spectra.mean(axis=0)) * np.float32(self.spectrogram.gain)
        with torch.no_grad():
            masks: Any = self.masks(torch.from_numpy(x).to(self.device))[:, frames].cpu().numpy()
        if not np.isfinite(masks).all():
            raise UserError("separate: the model estimates NaN; train it again, or lower the level of the audio")
        masked = (masks[:, None] * spectra[None, :, frames]).reshape(-1, count, spectra.shape[2])
        total = np.stack([self.spectrogram.overlap_add(part)[0] for part in masked])
        return np.ascontiguousarray(total.T), self.spectrogram.weight(count)[:, None], count
