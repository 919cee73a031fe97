"""List the recordings of a run and the output file of each."""

import os
import tempfile
import unicodedata
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
    """Recordings of a run.

    jobs: one for each recording, in the order of their names.
    unusable: outcomes of recordings and folders that cannot be read or have a conflicting output.
    ignored: number of other files in the folders.
    """

    jobs: list[Job] = field(default_factory=list)
    unusable: list[Outcome] = field(default_factory=list)
    ignored: int = 0


def lone_target(inputs: Sequence[PathLike], out: PathLike, overwrite: bool = False) -> Path | None:
    """Return the output file for a single recording, or None if `out` is a folder.

    `out` is a folder if it exists as one, ends in "/" or has no suffix, and if there are several recordings.

    Raises UserError if there is no input or the file cannot be written.
    """
    if not inputs:
        raise UserError("no input: name at least one recording or folder")
    target = Path(out)
    if len(inputs) > 1 or Path(inputs[0]).is_dir() or _names_folder(out) or not target.suffix:
        return None
    output_format(target)
    if target.exists() and Path(inputs[0]).exists() and target.samefile(inputs[0]):
        raise UserError(f"{target}: is an input and would be overwritten; choose another path with --out")
    check_writable(target, overwrite)
    return target


def list_jobs(inputs: Sequence[PathLike], out: PathLike) -> Listing:
    """Return a job for each recording in `inputs`: files with any suffix, and folders with all subfolders.

    Outputs of a folder keep its structure: IN/a/b.wav becomes OUT/a/b.wav. A file becomes a file in OUT. An output has
    the recording's name, but suffix .wav if the format cannot be written (.mp3, .ogg), because a lossy format would
    change the length and the sum of signal and noise. Hidden files and OUT itself are left out; links are followed.

    Raises UserError if an input does not exist, `out` cannot be used as a folder, there are no recordings, or two
    inputs have the same output.
    """
    folder, listing = Path(out), Listing()
    _check_out(inputs, out)
    claimed: dict[Path, tuple[Path, Path]] = {}  # recording and input of each output
    for name in dict.fromkeys(map(Path, inputs)):
        root, sources = (name, _recordings(name, folder, listing)) if name.is_dir() else (name.parent, [name])
        for source in sources:
            relative = source.relative_to(root)
            target = folder / (relative if relative.suffix.lower() in FORMATS else relative.with_suffix(".wav"))
            if target not in claimed:
                claimed[target] = source, name
                _add_job(listing, source, target)
                continue
            other_source, other_input = claimed[target]
            if other_source == source:
                continue
            if other_input != name:
                raise UserError(
                    f"{other_source} and {source} would both become {target}; denoise them into separate folders"
                )
            if source.name == target.name != other_source.name:  # a.wav has priority over a.mp3
                listing.jobs = [job for job in listing.jobs if job.source != other_source]
                claimed[target] = source, name
                _add_job(listing, source, target)
                source, other_source = other_source, source
            reason = f"{source}: would become {target}, as {other_source} does; rename one, or denoise it on its own"
            listing.unusable.append(Outcome(Job(source, target, 0, 0), reason=reason))
    if not listing.jobs and not listing.unusable:
        others = f", only {listing.ignored} other files" if listing.ignored else ""
        raise UserError(
            f"{', '.join(map(str, inputs))}: no recordings there{others}; audio files have suffixes such as .wav and "
            ".flac"
        )
    _create_folder(folder)
    _leave_out_equal_names(listing, folder)
    return listing


def _names_folder(out: PathLike) -> bool:
    return os.fspath(out).endswith(os.sep) or Path(out).is_dir()


def _check_out(inputs: Sequence[PathLike], out: PathLike) -> None:
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{out}: is a file, but several outputs need a folder; choose one with --out")
    if not _names_folder(out) and folder.suffix.lower() in FORMATS:
        inputs_given = f"there are {len(inputs)} inputs" if len(inputs) > 1 else f"{inputs[0]} is a folder"
        raise UserError(f"{out}: names one file, but {inputs_given}; name a folder with --out")
    for name in map(Path, inputs):
        if not name.exists():
            raise UserError(f"{name}: no such file or folder; check the name")
        if name.is_dir() and folder.is_dir() and name.samefile(folder):
            raise UserError(f"{out}: is a folder of recordings, which would be overwritten; choose another with --out")


def _create_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: the folder cannot be created: {error.strerror}; choose another") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"{folder}: the folder cannot be written; choose another")


def _leave_out_equal_names(listing: Listing, folder: Path) -> None:
    """Make recordings unusable whose outputs are one file on a disk that takes A.wav and a.WAV for one."""
    claimed: dict[str, Job] = {}
    equal = [job for job in listing.jobs if claimed.setdefault(_folded(str(job.target)), job) is not job]
    if not equal or _distinguishes_names(folder):
        return
    listing.jobs = list(claimed.values())
    for job in equal:
        other = claimed[_folded(str(job.target))]
        reason = f"{job.source}: the disk of {folder} takes {job.target.name} and {other.target.name} for one name"
        listing.unusable.append(Outcome(job, reason=f"{reason}; rename one, or denoise it on its own"))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _distinguishes_names(folder: Path) -> bool:
    """Return whether names in a folder differ by the case of letters and by composed characters."""
    with tempfile.TemporaryDirectory(prefix=".partae-\u00e9-", dir=folder) as probe:
        names = Path(probe).name.upper(), unicodedata.normalize("NFD", Path(probe).name)
        return not any(Path(folder, name).exists() for name in names)


def _recordings(folder: Path, out: Path, listing: Listing) -> Iterable[Path]:
    """Yield the recordings in a folder, without those in `out`; count ignored and unreadable ones in `listing`."""
    recordings = Recordings(folder, skip=out)
    yield from recordings
    listing.ignored += recordings.ignored
    for path, message in recordings.unreadable.items():
        listing.unusable.append(Outcome(Job(path, path, 0, 0), reason=message))


def _add_job(listing: Listing, source: Path, target: Path) -> None:
    try:
        state = source.stat()
    except OSError as error:
        reason = f"{source}: cannot be read: {error.strerror}; check the path"
        listing.unusable.append(Outcome(Job(source, target, 0, 0), reason=reason))
        return
    listing.jobs.append(Job(source, target, state.st_size, state.st_mtime_ns))
