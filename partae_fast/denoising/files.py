"""Denoise an audio file to another, in chunks that shrink if memory runs out."""

import contextlib
import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from ..atomic import check_writable
from ..audio.files import BLOCK, AudioInfo, AudioWriter, PathLike, blocks, info, read, writing
from ..errors import UserError, is_out_of_memory
from ..models.protocol import Model
from .denoise import CHUNK, denoise_blocks

logger = logging.getLogger("partae_fast")

T = TypeVar("T")

FIGURE_SECONDS = 60  # seconds of a recording in its figure; more would not be legible
MIN_CHUNK = 128  # frames; nearly all memory of smaller chunks is their halo


def figure_path(target: PathLike) -> Path:
    """Return the path of the figure of a denoised file: the same name with suffix .png."""
    return Path(target).with_suffix(".png")


def denoise_file(
    model: Model,
    source: PathLike,
    target: PathLike,
    part: str = "signal",
    reduction: float | None = None,
    figure: bool = False,
    overwrite: bool = False,
    clipping: str = "clip",
    chunk: int = CHUNK,
    progress_callback: Callable[[float], None] | None = None,
) -> AudioInfo:
    """Denoise a file to another with bounded memory; the samples are those of `denoise`.

    Arguments:
        model: trained model.
        source: any file that libsndfile reads, at any rate and with any number of channels.
        target: output file; its suffix selects the format. Rate, channels, length, tags, the time of change and, if the
            format has them, the subtype and the metadata chunks are those of `source`. A WAV file with GUANO or
            Broadcast Wave metadata gets a note that it was denoised.
        part, reduction: see `denoise`.
        figure: plot the first minute of the first channel to `figure_path(target)`.
        overwrite: replace an existing target.
        clipping: how samples beyond full scale are written; see `audio.files.writing`.
        chunk: frames that the model processes at a time. If the memory of the host or a GPU runs out, the file is
            denoised again with half as many, and a warning is logged.
        progress_callback: called repeatedly with the share of the file that is done, 0 .. 1.

    Returns the header of the source, with the number of frames that were read.

    Raises the errors of `denoise`, `audio.files.read` and `audio.files.writing`, and UserError if the source changes
    while it is read or if memory runs out with the smallest chunk. An error leaves `target` unchanged.
    """
    header = info(source)
    before = os.stat(source)
    if Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"{target}: is the input itself; write to another file")
    if figure:
        check_writable(figure_path(target), overwrite)

    limit = "" if reduction is None else f", reduction at most {reduction:g} dB"
    note = f"denoised with partae_fast {version()}, {part} kept{limit}"

    # Programs that sort recordings by time sort the denoised ones in the same order.
    times = before.st_atime_ns, before.st_mtime_ns

    def denoise_in_chunks(chunk: int) -> int:
        """Denoise the file; return the number of frames."""
        with writing_like(header, target, overwrite, clipping, note, times) as writer:
            inputs = blocks(source, block_size(chunk, header.channels))
            for block in denoise_blocks(inputs, header.rate, header.channels, model, part, reduction, chunk):
                writer.write(block)
                if progress_callback:
                    progress_callback(min(1.0, writer.frames / header.frames))
            require_unchanged(source, before)
        return writer.frames

    frames = retry_with_smaller_chunks(denoise_in_chunks, chunk, header)
    if figure:
        _plot(model, source, target, part, header.rate)
    return replace(header, frames=frames)


def writing_like(
    header: AudioInfo,
    target: PathLike,
    overwrite: bool,
    clipping: str,
    note: str,
    times: tuple[int, int] | None = None,
) -> contextlib.AbstractContextManager[AudioWriter]:
    """Return `audio.files.writing` for a file with the rate, channels, length and metadata of `header`."""
    return writing(
        target,
        header.rate,
        header.channels,
        header.frames,
        header.subtype,
        overwrite,
        clipping,
        header.tags,
        header.chunks,
        note,
        times,
    )


def version() -> str:
    """Return the version of this package."""
    from .. import __version__

    return __version__


def block_size(chunk: int, channels: int) -> int:
    """Return the number of frames to read at a time for a model that processes `chunk` spectrogram frames."""
    return max(1, BLOCK * min(chunk, CHUNK) // (CHUNK * channels))


def retry_with_smaller_chunks(process: Callable[[int], T], chunk: int, header: AudioInfo) -> T:
    """Return process(chunk), with `chunk` halved each time that memory runs out.

    Raises UserError if memory runs out with the smallest chunk.
    """
    while True:
        try:
            return process(chunk)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # After the handler, because the traceback keeps the failed call's memory alive.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if chunk // 2 < MIN_CHUNK:
            raise UserError(
                f"{header.path}: memory ran out with only {chunk} frames of {header.channels} channels at a time; "
                "close other programs, reduce --jobs, or use another machine"
            )
        chunk //= 2
        logger.warning("%s: memory ran out; started again with %d frames at a time", header.path, chunk)


def require_unchanged(source: PathLike, before: os.stat_result) -> None:
    """Raise UserError if the size or the time of change of a file differs from `before`."""
    after = os.stat(source)
    if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise UserError(f"{source}: changed while it was read; denoise it again when it is complete")


def _plot(model: Model, source: PathLike, target: PathLike, part: str, rate: int) -> None:
    from .figure import plot_denoising

    audio, _ = read(source, frames=FIGURE_SECONDS * rate)
    output, _ = read(target, frames=FIGURE_SECONDS * rate)
    audio, output = audio[:, 0], output[:, 0]
    signal, noise = (output, audio - output) if part == "signal" else (audio - output, output)
    plot_denoising(figure_path(target), audio, signal, noise, rate, model, title=Path(source).name)
