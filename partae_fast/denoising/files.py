"""Denoising of audio files: where each result goes, and the streaming run from file to file."""

import os
from collections.abc import Sequence
from pathlib import Path

from ..atomic import check_writable
from ..audio.files import FORMATS, PathLike, blocks, info, output_format, read, writing
from ..errors import UserError
from .denoise import Separator, denoise_blocks

# Seconds of a recording that its figure shows: more would not be legible.
FIGURE_SECONDS = 60


def destinations(
    inputs: Sequence[PathLike], out: PathLike, overwrite: bool = False, figure: bool = False
) -> list[tuple[Path, Path]]:
    """Which file each input becomes: [(source, target), ...].

    `out` is a file for one input, unless it is a folder, ends in "/" or has no suffix; for several it is a
    folder, created if it is not there. In a folder a result has its input's name, with .wav in place of the
    suffix of a format that loses samples (.mp3, .ogg): its length would change, and signal and noise would
    not add up.

    Raises UserError, before anything is written but that folder, where an input is not usable as audio, a
    target would be one of the inputs or the target of two, exists and `overwrite` is false, or cannot be
    written.
    """
    if not inputs:
        raise UserError("no input: name at least one recording")
    sources = [info(path).path for path in inputs]
    targets = _targets(sources, Path(out), os.fspath(out).endswith(os.sep))
    used: dict[Path, Path] = {}
    for source, target in zip(sources, targets, strict=True):
        for path in (target, figure_path(target)) if figure else (target,):
            check_writable(path, overwrite)
        if target.resolve() in used:
            raise UserError(f"{used[target.resolve()]} and {source} would both become {target}; run them apart")
        if any(target.exists() and target.samefile(path) for path in sources):
            raise UserError(f"{target}: is an input, and would be lost; write elsewhere with --out")
        used[target.resolve()] = source
    return list(zip(sources, targets, strict=True))


def _targets(sources: list[Path], out: Path, folder: bool) -> list[Path]:
    if len(sources) == 1 and not (folder or out.is_dir() or not out.suffix):
        output_format(out)
        return [out]
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file, and {len(sources)} inputs need a folder; name one with --out")
    if not folder and not out.exists() and out.suffix.lower() in FORMATS:
        raise UserError(f"{out}: names one file, and there are {len(sources)} inputs; name a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: the folder cannot be created: {error.strerror}; choose another") from error
    return [out / (path.name if path.suffix.lower() in FORMATS else path.stem + ".wav") for path in sources]


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
) -> None:
    """Denoise a file into another, in bounded memory; its samples are those of `denoise` of the whole.

    Arguments:
        source: anything that libsndfile reads, at any rate, with any number of channels.
        target: its suffix says the format; rate, channels, length and, where the format has it, subtype are
        kept. part, reduction: as for `denoise`.
        figure: whether to draw the first minute of the first channel to `figure_path(target)`.
        overwrite: whether a target that exists is replaced.

    Raises UserError as `denoise`, `audio.files.read` and `audio.files.writing` do; `target` is then as it
    was.
    """
    about = info(source)
    if Path(target).exists() and Path(target).samefile(source):
        raise UserError(f"{target}: is the input itself; write to another file")
    if figure:
        check_writable(figure_path(target), overwrite)
    with writing(target, about.rate, about.channels, about.frames, about.subtype, overwrite) as writer:
        for block in denoise_blocks(blocks(source), about.rate, about.channels, model, part, reduction):
            writer.write(block)
    if figure:
        _draw(model, source, target, part, about.rate)


def _draw(model: Separator, source: PathLike, target: PathLike, part: str, rate: int) -> None:
    from .figure import figure

    audio, _ = read(source, frames=FIGURE_SECONDS * rate)
    written, _ = read(target, frames=FIGURE_SECONDS * rate)
    audio, written = audio[:, 0], written[:, 0]
    signal, noise = (written, audio - written) if part == "signal" else (audio - written, written)
    figure(figure_path(target), audio, signal, noise, rate, model, title=Path(source).name)
