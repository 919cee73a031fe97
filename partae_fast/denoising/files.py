"""Denoising of one audio file into another: streamed, with less at a time where memory runs out."""

import gc
import logging
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import torch

from ..atomic import check_writable
from ..audio.files import BLOCK, AudioInfo, PathLike, blocks, info, read, writing
from ..errors import UserError, is_out_of_memory
from .denoise import CHUNK, Separator, denoise_blocks

logger = logging.getLogger("partae_fast")

T = TypeVar("T")

# Seconds of a recording that its figure shows: more would not be legible.
FIGURE_SECONDS = 60
# Frames in the smallest chunk that is tried: below it nearly all memory is the chunk's halo.
LEAST_CHUNK = 128


def figure_path(target: PathLike) -> Path:
    """Where the figure of a denoised file goes: beside it, as .png."""
    return Path(target).with_suffix(".png")


def denoise_file(
    model: Separator,
    source: PathLike,
    target: PathLike,
    part: str = "signal",
    reduction: float | None = None,
    figure: bool = False,
    overwrite: bool = False,
    clipping: str = "clip",
    chunk: int = CHUNK,
    tell: Callable[[float], None] | None = None,
) -> AudioInfo:
    """Denoise a file into another, in bounded memory; its samples are those of `denoise` of the whole.

    Arguments:
        source: anything that libsndfile reads, at any rate, with any number of channels.
        target: its suffix says the format; rate, channels, length, the header's tags, the time of the last change
            and, where the format has it, subtype are kept.
        part, reduction: as for `denoise`.
        figure: whether to draw the first minute of the first channel to `figure_path(target)`.
        overwrite: whether a target that exists is replaced.
        clipping: what becomes of samples beyond full scale, as for `audio.files.writing`.
        chunk: frames that the model gets at a time. Where memory runs out, of the host or of a GPU, the file is begun
            again with half of them, and the log says so.
        tell: called now and then with the share of the file that is done, 0 .. 1.

    Returns what the source's header says, with the number of frames that there were. Raises UserError as `denoise`,
    `audio.files.read` and `audio.files.writing` do, where the source changes while it is read, and where memory is too
    small for the smallest chunk; `target` is then as it was.
    """
    about = info(source)
    before = os.stat(source)
    if Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"{target}: is the input itself; write to another file")
    if figure:
        check_writable(figure_path(target), overwrite)

    def attempt(chunk: int) -> int:
        """How many frames were written."""
        with writing(
            target, about.rate, about.channels, about.frames, about.subtype, overwrite, clipping, about.tags
        ) as writer:
            pieces = blocks(source, block_size(chunk, about.channels))
            for block in denoise_blocks(pieces, about.rate, about.channels, model, part, reduction, chunk):
                writer.write(block)
                if tell:
                    tell(min(1.0, writer.frames / about.frames))
            require_unchanged(source, before)
        return writer.frames

    frames = with_less_at_a_time(attempt, chunk, about)
    # So that what orders recordings by their time finds the denoised ones in the same order.
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    if figure:
        _draw(model, source, target, part, about.rate)
    return replace(about, frames=frames)


def block_size(chunk: int, channels: int) -> int:
    """Samples of a channel to read at a time where the model gets `chunk` frames at a time."""
    return max(1, BLOCK * min(chunk, CHUNK) // (CHUNK * channels))


def with_less_at_a_time(attempt: Callable[[int], T], chunk: int, about: AudioInfo) -> T:
    """What `attempt` returns of a number of frames at a time: `chunk`, halved each time that memory runs out.

    Raises UserError where it is too small for the smallest chunk.
    """
    while True:
        try:
            return attempt(chunk)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # Outside the handler, whose error holds what the attempt had allocated.
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if chunk // 2 < LEAST_CHUNK:
            raise UserError(
                f"{about.path}: memory ran out, with {chunk} frames of {about.channels} channels at a time too; "
                "close other programs, use fewer --jobs, or another machine"
            )
        chunk //= 2
        logger.warning("%s: memory ran out; begun again with %d frames at a time", about.path, chunk)


def require_unchanged(source: PathLike, before: os.stat_result) -> None:
    now = os.stat(source)
    if (now.st_size, now.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
        raise UserError(f"{source}: changed while it was read; denoise it again once it is complete")


def _draw(model: Separator, source: PathLike, target: PathLike, part: str, rate: int) -> None:
    from .figure import figure

    audio, _ = read(source, frames=FIGURE_SECONDS * rate)
    written, _ = read(target, frames=FIGURE_SECONDS * rate)
    audio, written = audio[:, 0], written[:, 0]
    signal, noise = (written, audio - written) if part == "signal" else (audio - written, written)
    figure(figure_path(target), audio, signal, noise, rate, model, title=Path(source).name)
