"""Which recordings are denoised, and the file that each becomes."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..atomic import check_writable
from ..audio.files import FORMATS, PathLike, output_format
from ..errors import UserError
from .jobs import Job, Outcome

# What libsndfile reads, but for what has no header or is seldom audio (.raw, .mat, .htk). Files with other suffixes
# that lie among the recordings (labels, notes, pictures) are passed over.
# fmt: off
SUFFIXES = frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".aif", ".aiff", ".aifc", ".caf", ".flac", ".ogg", ".oga", ".opus",
    ".mp3", ".mp2", ".au", ".snd", ".avr", ".voc", ".sph", ".nist", ".sds", ".sd2", ".paf", ".pvf", ".svx",
    ".8svx", ".iff", ".ircam", ".sf", ".wve",
))
# fmt: on


@dataclass
class Listing:
    """What was found.

    jobs: in the order of their names. unusable: what can be said to have failed before it was begun. ignored: how many
    other files lay among the recordings.
    """

    jobs: list[Job] = field(default_factory=list)
    unusable: list[Outcome] = field(default_factory=list)
    ignored: int = 0


def lone_target(inputs: Sequence[PathLike], out: PathLike, overwrite: bool = False) -> Path | None:
    """The file that the one recording becomes, or None where `out` is a folder.

    `out` is a file for one recording, unless it is a folder, ends in "/" or has no suffix.

    Raises UserError where there is no input or the file cannot be written there.
    """
    if not inputs:
        raise UserError("no input: name at least one recording or folder")
    place = Path(out)
    if len(inputs) > 1 or Path(inputs[0]).is_dir() or _names_folder(out) or not place.suffix:
        return None
    output_format(place)
    if place.exists() and Path(inputs[0]).exists() and place.samefile(inputs[0]):
        raise UserError(f"{place}: is an input, and would be lost; write elsewhere with --out")
    check_writable(place, overwrite)
    return place


def list_jobs(inputs: Sequence[PathLike], out: PathLike) -> Listing:
    """A job for each recording in `inputs`: files, whatever their suffix, and folders, with all folders in them.

    What lies in a folder keeps its place: IN/a/b.wav becomes OUT/a/b.wav. A file goes into OUT itself. A result has its
    recording's name, with .wav in place of the suffix of a format that is not written here (.mp3, .ogg): its length
    would change, and signal and noise would not add up. Names that begin with a dot are hidden and passed over, and OUT
    itself is, where it lies in a folder of recordings. Links are followed.

    Raises UserError where an input is not there, `out` cannot be a folder for results, there is no recording at all, or
    two inputs would put their results in the same place.
    """
    place, listing = Path(out), Listing()
    _check_out(inputs, out)
    taken: dict[Path, tuple[Path, Path]] = {}
    for name in dict.fromkeys(map(Path, inputs)):
        found = _walk(name, _identity(place), listing) if name.is_dir() else [(name, Path(name.name))]
        for source, relative in found:
            target = place / (relative if relative.suffix.lower() in FORMATS else relative.with_suffix(".wav"))
            if target not in taken:
                taken[target] = source, name
                _add(listing, source, target)
                continue
            other, of = taken[target]
            if other == source:
                continue
            if of != name:
                raise UserError(f"{other} and {source} would both become {target}; denoise them into separate folders")
            reason = f"{source}: would become {target}, as {other} does; rename one, or denoise it on its own"
            listing.unusable.append(Outcome(Job(source, target, 0, 0), reason=reason))
    if not listing.jobs and not listing.unusable:
        beside = f", only {listing.ignored} other files" if listing.ignored else ""
        raise UserError(
            f"{', '.join(map(str, inputs))}: no recordings there{beside}; audio files end in .wav, .flac ..."
        )
    _make_folder(place)
    return listing


def recordings_in(folder: PathLike) -> list[Path]:
    """Every recording in a folder and its folders, by name; hidden ones are passed over, links followed.

    Raises UserError where there is none, or a folder cannot be read.
    """
    listing = Listing()
    found = [path for path, _ in _walk(Path(folder), None, listing)]
    if listing.unusable:
        raise UserError(str(listing.unusable[0].reason))
    if not found:
        raise UserError(f"{folder}: no recordings there; audio files end in .wav, .flac ...")
    return found


def _names_folder(out: PathLike) -> bool:
    return os.fspath(out).endswith(os.sep) or Path(out).is_dir()


def _check_out(inputs: Sequence[PathLike], out: PathLike) -> None:
    place = Path(out)
    if place.exists() and not place.is_dir():
        raise UserError(f"{out}: is a file, and a folder is needed for several results; name one with --out")
    if not _names_folder(out) and place.suffix.lower() in FORMATS:
        several = f"there are {len(inputs)} inputs" if len(inputs) > 1 else f"{inputs[0]} is a folder"
        raise UserError(f"{out}: names one file, and {several}; name a folder with --out")
    for name in map(Path, inputs):
        if not name.exists():
            raise UserError(f"{name}: no such file or folder; check the name")
        if name.is_dir() and place.is_dir() and name.samefile(place):
            raise UserError(f"{out}: is a folder of recordings, which would be lost; write elsewhere with --out")


def _make_folder(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{place}: the folder cannot be created: {error.strerror}; choose another") from error
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{place}: the folder cannot be written; choose another")


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a folder from others, whatever its name."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def _walk(root: Path, out: tuple[int, int] | None, listing: Listing) -> Iterator[tuple[Path, Path]]:
    """(recording, its place below `root`) of all below it, by name, but for those in the folder `out`."""

    def visit(folder: Path, above: tuple[Any, ...]) -> Iterator[tuple[Path, Path]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            reason = f"{folder}: the folder cannot be read: {error.strerror}; change its mode or leave it out"
            listing.unusable.append(Outcome(Job(folder, folder, 0, 0), reason=reason))
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                inner = _identity(path)
                # Neither a link to a folder that it lies in, nor results of this run or an earlier one.
                if inner not in (*above, out):
                    yield from visit(path, (*above, inner))
            elif path.suffix.lower() in SUFFIXES and (entry.is_file() or entry.is_symlink()):
                yield path, path.relative_to(root)
            else:
                listing.ignored += 1

    yield from visit(root, (_identity(root),))


def _add(listing: Listing, source: Path, target: Path) -> None:
    try:
        state = source.stat()
    except OSError as error:
        reason = f"{source}: cannot be read: {error.strerror}; check where it is"
        listing.unusable.append(Outcome(Job(source, target, 0, 0), reason=reason))
        return
    listing.jobs.append(Job(source, target, state.st_size, state.st_mtime_ns))
