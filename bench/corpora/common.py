"""Fetch Debian packages, convert their recordings and write manifests: the parts that all corpora share."""

import argparse
import csv
import hashlib
import logging
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from partae_fast.atomic import atomic_path
from partae_fast.audio import files
from partae_fast.audio.resample import resample
from partae_fast.errors import UserError
from partae_fast.experiments.corpora import corpora_folder

SPEECH_RATE = 16000  # Hz; recordings of speech with a higher rate are resampled to it
MANIFEST = "manifest.csv"
# Releases of Debian in which a package is looked up that the system's own release does not have.
_RELEASES = ("stable", "oldstable", "testing")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_BATCH = 50  # files that one process of ffmpeg converts


class Unavailable(Exception):
    """A package or a program that a corpus needs is missing; the message says which, and what to do."""


@dataclass(frozen=True)
class Recording:
    """A file of a corpus: its path in the folder of the corpus, its source and its licence.

    The source is a speaker, a kind of noise, or a stem of a song.
    """

    path: str
    source: str
    licence: str


@dataclass(frozen=True)
class Entry:
    """A row of a manifest."""

    file: str
    corpus: str
    source: str
    licence: str
    sha256: str
    seconds: float
    rate: int


# From the folders of unpacked packages, by package, and the folder of the corpus to the recordings written there.
Build = Callable[[dict[str, Path], Path], Iterable[Recording]]


@dataclass(frozen=True)
class Corpus:
    """A corpus that is made from packages.

    Attributes:
        name: of the corpus and its folder.
        about: one line.
        packages: of Debian. Missing packages are left out if `build` can do without them.
        build: converts the recordings.
        required: packages without which there is no corpus; any one of `packages` if empty.
        programs: that must be installed, with the packages that have them.
    """

    name: str
    about: str
    packages: tuple[str, ...]
    build: Build
    required: tuple[str, ...] = ()
    programs: tuple[tuple[str, str], ...] = ()


def main(corpus: Corpus) -> int:
    """Run the command line of a corpus; return the exit code."""
    parser = argparse.ArgumentParser(description=f"Make the corpus {corpus.name}: {corpus.about}")
    add_arguments(parser)
    args = parser.parse_args()
    return 0 if make_or_report(corpus, Path(args.folder).resolve(), args.overwrite) else 2


def make_or_report(corpus: Corpus, folder: Path, overwrite: bool) -> bool:
    """Make a corpus as `make` does, or print what went wrong; return whether nothing did.

    Warnings about single recordings are not printed, for the process: many lack their last samples, or would clip.
    """
    logging.getLogger("partae_fast").setLevel(logging.ERROR)
    try:
        make(corpus, folder, overwrite)
    except UserError as error:
        print(f"{corpus.name}: {error}", file=sys.stderr)
        return False
    return True


def add_arguments(parser: argparse.ArgumentParser, overwrite: bool = True) -> None:
    """Add the arguments of all scripts."""
    parser.add_argument(
        "--folder", default=corpora_folder(), metavar="DIR", help="folder of all corpora (default: %(default)s)"
    )
    if overwrite:
        parser.add_argument("--overwrite", action="store_true", help="make a corpus again if it is there")


def make(corpus: Corpus, folder: Path, overwrite: bool = False) -> bool:
    """Make a corpus in its own folder in `folder`; print one line, and return whether it is there."""
    target, started = folder / corpus.name, time.monotonic()
    if (target / MANIFEST).is_file() and not overwrite:
        print(f"{corpus.name}: is there already: {summary(read_manifest(target))}")
        return True
    try:
        for program, package in corpus.programs:
            if not shutil.which(program):
                raise Unavailable(f"needs {program}; apt-get install {package}")
        debs = _fetch_all(corpus, folder / "packages")
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{corpus.name}-") as temporary:
            made, unpacked = Path(temporary) / "corpus", Path(temporary) / "unpacked"
            made.mkdir()
            unpacked.mkdir()
            for package, deb in debs.items():
                run_program(["dpkg-deb", "-x", str(deb), str(unpacked / package)])
            roots = {package: unpacked / package for package in debs}
            recordings = list(corpus.build(roots, made))
            for package, root in roots.items():
                shutil.copy(copyright_file(root), made / f"copyright-{package}.txt")
            entries = _write_manifest(corpus, made, recordings)
            shutil.rmtree(target, ignore_errors=True)
            made.rename(target)
    except Unavailable as error:
        print(f"{corpus.name}: skipped: {error}")
        return False
    print(f"{corpus.name}: {summary(entries)}, made in {time.monotonic() - started:.0f} s")
    return True


def summary(entries: list[Entry]) -> str:
    """Return the size of a corpus as text."""
    sources, seconds = len({entry.source for entry in entries}), sum(entry.seconds for entry in entries)
    return f"{len(entries)} files, {sources} sources, {seconds / 60:.1f} min"


def read_manifest(folder: Path) -> list[Entry]:
    """Return the rows of the manifest in the folder of a corpus."""
    with open(folder / MANIFEST, newline="", encoding="utf-8") as file:
        return [
            Entry(**{**row, "seconds": float(row["seconds"]), "rate": int(row["rate"])})  # pyright: ignore
            for row in csv.DictReader(file)
        ]


def licences(root: Path) -> dict[str, str]:
    """Return the licences in the copyright file of an unpacked package, by the patterns of files that have them.

    The file must be in Debian's machine-readable format, a paragraph with Files and License for each licence.
    """
    by_pattern: dict[str, str] = {}
    patterns: list[str] = []
    field = ""
    for line in copyright_file(root).read_text(encoding="utf-8").splitlines():
        if not line.strip():
            patterns, field = [], ""
        elif not line[0].isspace():
            field, _, value = line.partition(":")
            if field == "Files":
                patterns = value.split()
            elif field == "License":
                by_pattern |= {pattern: value.strip() for pattern in patterns if pattern not in by_pattern}
        elif field == "Files":
            patterns += line.split()
    return by_pattern


def licence_with(root: Path, phrase: str, licence: str) -> str:
    """Return `licence` if the copyright file of an unpacked package contains a phrase; white space may differ.

    For packages whose copyright file is free text. Raises UserError if the phrase is missing.
    """
    text = " ".join(copyright_file(root).read_text(encoding="utf-8", errors="replace").split())
    if phrase not in text:
        raise UserError(f"{copyright_file(root)}: lacks '{phrase}'; read the licence and correct this script")
    return licence


def copyright_file(root: Path) -> Path:
    """Return the copyright file of an unpacked package."""
    return next((root / "usr" / "share" / "doc").glob("*/copyright"))


def convert(source: Path, target: Path, highest_rate: int | None = None) -> bool:
    """Write the mean of a recording's channels as FLAC, at most at `highest_rate`; return False if it is silent."""
    samples, rate = files.read(source)
    return write(target, samples.mean(axis=1), rate, highest_rate)


def write(target: Path, samples: np.ndarray, rate: int, highest_rate: int | None = None) -> bool:
    """Write samples (T,) as FLAC of 16 bits, at most at `highest_rate`; return False, without a file, for silence."""
    new_rate = min(rate, highest_rate or rate)
    samples = resample(samples, rate, new_rate)
    if np.abs(samples).max(initial=0) < 2**-14:  # two steps of 16 bits
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write(target, samples.astype(np.float32), new_rate, subtype="PCM_16", clipping="scale")
    return True


def decode(sources: Sequence[Path], format: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Decode files without a header by ffmpeg; yield each with a WAV file in `folder`, which the next batch replaces.

    Empty files are left out.

    Args:
        sources: the files.
        format: ffmpeg's name of their format.
        folder: of the WAV files.
    """
    sources = [path for path in sources if path.stat().st_size]
    for first in range(0, len(sources), _BATCH):
        batch = sources[first : first + _BATCH]
        outputs = [folder / f"{number}.wav" for number in range(len(batch))]
        inputs = [word for path in batch for word in ("-f", format, "-i", str(path))]
        maps = [word for number, path in enumerate(outputs) for word in ("-map", str(number), str(path))]
        run_program(["ffmpeg", "-v", "error", "-y", *inputs, *maps])
        yield from zip(batch, outputs, strict=True)


def _fetch_all(corpus: Corpus, folder: Path) -> dict[str, Path]:
    """Return the packages that can be had, downloaded into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    debs = {}
    for package in corpus.packages:
        try:
            debs[package] = fetch(package, folder)
        except Unavailable as error:
            if package in corpus.required:
                raise
            print(f"{corpus.name}: {error}")
    if not debs:
        raise Unavailable("none of its packages can be had")
    return debs


def fetch(package: str, folder: Path) -> Path:
    """Download a package into a folder, unless it is there, and return its file.

    A package that the system's release does not have is taken from another release of Debian, if the system knows a
    mirror of it: apt then has its own lists in the folder, and the system's are not changed.

    Raises Unavailable if there is no such package.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable("needs apt-get and dpkg-deb, of Debian or Ubuntu")
    if deb := _downloaded(package, folder):
        return deb
    for options in _apt_options(folder):
        subprocess.run(["apt-get", "-q", *options, "download", package], cwd=folder, capture_output=True, check=False)
        if deb := _downloaded(package, folder):
            return deb
    raise Unavailable(f"no package {package}; run apt-get update, or use a release of Debian that has it")


def _downloaded(package: str, folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)


def _apt_options(folder: Path) -> Iterator[list[str]]:
    """Yield the options of apt-get for the system's release and then for each other release of Debian."""
    yield []
    targets = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian"]
    mirrors = [uri for uri in run_program(targets).decode().split() if "security" not in uri]
    if not (mirrors and _KEYRING.is_file()):
        return
    for release in _RELEASES:
        lists = folder / f"apt-{release}"
        options = {
            "Dir::Etc::sourcelist": lists / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": lists / "lists",
            "Dir::Cache": lists / "cache",
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        if not lists.is_dir():
            for subfolder in ("lists/partial", "cache/archives/partial"):
                (lists / subfolder).mkdir(parents=True)
            (lists / "sources.list").write_text(f"deb [signed-by={_KEYRING}] {mirrors[0]} {release} main\n")
            subprocess.run(["apt-get", "-q", *words, "update"], capture_output=True, check=False)
        yield words


def _write_manifest(corpus: Corpus, folder: Path, recordings: Iterable[Recording]) -> list[Entry]:
    entries = []
    for recording in sorted(recordings, key=lambda recording: recording.path):
        path = folder / recording.path
        header = files.info(path)
        entries.append(
            Entry(
                recording.path,
                corpus.name,
                recording.source,
                recording.licence,
                hashlib.sha256(path.read_bytes()).hexdigest(),
                round(header.seconds, 3),
                header.rate,
            )
        )
    if not entries:
        raise UserError(f"{corpus.name}: the packages have no recordings; look for a newer version of this script")
    with atomic_path(folder / MANIFEST) as path, path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Entry)], lineterminator="\n")
        table.writeheader()
        table.writerows(asdict(entry) for entry in entries)
    return entries


def run_program(command: Sequence[str]) -> bytes:
    """Run a program and return its output; raise UserError with the last line of its messages if it fails."""
    result = subprocess.run(command, capture_output=True, check=False)
    if result.returncode:
        lines = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise UserError(f"{command[0]}: {lines[-1]}")
    return result.stdout
