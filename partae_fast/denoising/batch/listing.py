"""Which recordings are denoised, and the file that each becomes."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...atomic import check_writable
from ...audio.files import FORMATS, PathLike, output_format
from ...audio.folders import Recordings
from ...errors import UserError
from .jobs import Job, Outcome


@dataclass
class Listing:
    """The recordings of some inputs.

    jobs: in the order of their names. unusable: outcomes of what fails before it starts. ignored: how many other files
    lie among the recordings.
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
        root, sources = (name, _recordings(name, place, listing)) if name.is_dir() else (name.parent, [name])
        for source in sources:
            relative = source.relative_to(root)
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


def _recordings(folder: Path, out: Path, listing: Listing) -> Iterable[Path]:
    """Yield the recordings below a folder, but for those below `out`; note in `listing` what is passed over."""
    recordings = Recordings(folder, skip=out)
    yield from recordings
    listing.ignored += recordings.ignored
    for path, message in recordings.unreadable.items():
        listing.unusable.append(Outcome(Job(path, path, 0, 0), reason=message))


def _add(listing: Listing, source: Path, target: Path) -> None:
    try:
        state = source.stat()
    except OSError as error:
        reason = f"{source}: cannot be read: {error.strerror}; check where it is"
        listing.unusable.append(Outcome(Job(source, target, 0, 0), reason=reason))
        return
    listing.jobs.append(Job(source, target, state.st_size, state.st_mtime_ns))
