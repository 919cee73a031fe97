"""Songs in stems: a folder for each, with a file for each source and, it may be, one for the mixture.

    DIR/SONG/vocals.wav  bass.wav  drums.wav  other.wav  mixture.wav        the layout of MUSDB18-HQ
    DIR/source1.flac  source2.flac  mixture.flac                            DIR is a song itself

A source is called as its file is, without the suffix; all songs have the same sources. Where there is no `mixture`, it
is the sum of the stems.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import files
from ..audio.files import PathLike
from ..audio.folders import SUFFIXES
from ..audio.headers import LOSSY
from ..audio.resample import resample
from ..errors import UserError

logger = logging.getLogger("partae_fast")

MIXTURE = "mixture"
TRAINING = "train"  # where a folder of songs has these in a folder of their own


@dataclass(frozen=True)
class Song:
    """The files of a song: `stems` by their sources, in the order of the names, and the mixture where there is one."""

    name: str
    stems: dict[str, Path]
    mixture: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All of them, the mixture last."""
        return [*self.stems.values(), *([self.mixture] if self.mixture else [])]

    @property
    def rate(self) -> int:
        """In Hz, of all files."""
        return files.info(self.files[0]).rate

    def read(self, rate: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The mixture (T,) and the stems (sources, T) at `rate` Hz, the means of their channels.

        Raises UserError where a file cannot be read, lengths differ, or the mixture is silent.
        """
        tracks = []
        for path in self.files:
            samples, own = files.read(path)
            tracks.append(resample(samples.mean(axis=1), own, rate))
        _require_equal(self, [len(track) for track in tracks], "samples")
        stems = np.stack(tracks[: len(self.stems)])
        mixture = tracks[-1] if self.mixture else stems.sum(axis=0)
        files.require_sound(mixture, f"{self.name}, the mixture")
        return mixture, stems


def songs(folders: Iterable[PathLike]) -> list[Song]:
    """The songs in folders and all folders below them, by name; of a folder that has train/ those in there alone.

    Raises UserError where there are none, a song lacks a stem that another has, or files of a song differ in rate or
    length.
    """
    found = [song for folder in folders for song in _songs(Path(folder))]
    sources = sorted({source for song in found for source in song.stems})
    for song in found:
        lacking = [source for source in sources if source not in song.stems]
        if lacking:
            other = next(song.name for song in found if lacking[0] in song.stems)
            raise UserError(
                f"{song.name}: has no {lacking[0]}, which {other} has; all songs must have the same stems: add it, "
                "silent if need be, or leave the song out"
            )
    return found


def _songs(folder: Path) -> list[Song]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with a folder of stems for each song")
    inner = folder / TRAINING
    if inner.is_dir() and not _audio(folder):
        logger.info("%s: songs are taken from %s", folder, inner)
        folder = inner
    found = [_song(place, audio) for place in _folders(folder) if (audio := _audio(place))]
    if not found:
        raise UserError(
            f"{folder}: no song there; give a folder for each, with a file for each source, such as vocals.wav; "
            "stems that are packed in one .mp4 must be unpacked first"
        )
    return found


def _folders(folder: Path) -> Iterator[Path]:
    """This folder and all below it, in the order of their names, each once where links lead to it again."""
    seen = set()
    for place, inner, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        inner[:] = [] if real in seen else sorted(name for name in inner if not name.startswith("."))
        if real not in seen:
            yield Path(place)
        seen.add(real)


def _audio(folder: Path) -> list[Path]:
    found = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _song(folder: Path, audio: list[Path]) -> Song:
    tracks: dict[str, Path] = {}
    for path in audio:
        source = MIXTURE if path.stem.lower() == MIXTURE else path.stem
        if source in tracks:
            raise UserError(f"{folder}: has {tracks[source].name} and {path.name}; leave one file for each source")
        tracks[source] = path
    mixture = tracks.pop(MIXTURE, None)
    if len(tracks) < 2:
        has = ", ".join(tracks) or "no stem"
        raise UserError(f"{folder}: has {has}; a song is a mixture of two sources or more, a file for each")
    song = Song(str(folder), tracks, mixture)
    headers = [files.info(path) for path in song.files]
    _require_equal(song, [header.rate for header in headers], "Hz")
    # Of a lossy file the header tells about how long it is.
    exact = [None if header.format in LOSSY else header.frames for header in headers]
    _require_equal(song, exact, "samples")
    return song


def _require_equal(song: Song, numbers: list[int] | list[int | None], unit: str) -> None:
    known = [(path, number) for path, number in zip(song.files, numbers, strict=True) if number is not None]
    for path, number in known[1:]:
        first, wanted = known[0]
        if number != wanted:
            raise UserError(
                f"{song.name}: {path.name} has {number} {unit} and {first.name} {wanted}; stems of a song must be of "
                "one rate and length: cut or convert them alike"
            )
