"""Songs in stems: a folder for each song, with a file for each source and an optional one for the mixture."""
# DIR/SONG/vocals.wav  bass.wav  drums.wav  other.wav  mixture.wav        the layout of MUSDB18-HQ
# DIR/source1.flac  source2.flac  mixture.flac                            DIR itself is a song
#
# The name of a source is that of its file without the suffix; all songs have the same sources. Without a `mixture` it
# is the sum of the stems.

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
from ..audio.headers import is_lossy
from ..audio.resample import resample
from ..errors import UserError

logger = logging.getLogger("partae_fast")

MIXTURE = "mixture"
TRAINING = "train"  # folder of the training songs, if a corpus has one


@dataclass(frozen=True)
class Song:
    """The files of a song: `stems` by source, in the order of their names, and the mixture if there is one."""

    name: str
    stems: dict[str, Path]
    mixture: Path | None = None

    @property
    def files(self) -> list[Path]:
        """All files, the mixture last."""
        return [*self.stems.values(), *([self.mixture] if self.mixture else [])]

    @property
    def rate(self) -> int:
        """The sampling rate of all files in Hz."""
        return files.info(self.files[0]).rate

    def read(self, rate: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the mixture (T,) and the stems (sources, T) at `rate` Hz, each the mean of its channels.

        Raises UserError if a file cannot be read, lengths differ, or the mixture is silent.
        """
        tracks = []
        for path in self.files:
            samples, file_rate = files.read(path)
            tracks.append(resample(samples.mean(axis=1), file_rate, rate))
        _require_equal(self, [len(track) for track in tracks], "samples")
        stems = np.stack(tracks[: len(self.stems)])
        mixture = tracks[-1] if self.mixture else stems.sum(axis=0)
        files.require_sound(mixture, f"{self.name}, the mixture")
        return mixture, stems


def songs(folders: Iterable[PathLike]) -> list[Song]:
    """Return the songs in folders and their subfolders, by name; only those in train/ if a folder has it.

    Raises UserError if there are no songs, a song lacks a stem that another has, or files of a song differ in rate or
    length.
    """
    all_songs = [song for folder in folders for song in _songs(Path(folder))]
    sources = sorted({source for song in all_songs for source in song.stems})
    for song in all_songs:
        missing = [source for source in sources if source not in song.stems]
        if missing:
            other = next(song.name for song in all_songs if missing[0] in song.stems)
            raise UserError(
                f"{song.name}: has no {missing[0]}, which {other} has; all songs must have the same stems: add it, "
                "even as silence, or leave the song out"
            )
    return all_songs


def _songs(folder: Path) -> list[Song]:
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give a folder that has a folder of stems for each song")
    inner = folder / TRAINING
    if inner.is_dir() and not _audio(folder):
        logger.info("%s: songs are taken from %s", folder, inner)
        folder = inner
    folder_songs = [_song(path, audio) for path in _folders(folder) if (audio := _audio(path))]
    if not folder_songs:
        raise UserError(
            f"{folder}: has no songs; give a folder for each song, with a file for each source, such as vocals.wav; "
            "unpack stems that are packed in one .mp4"
        )
    return folder_songs


def _folders(folder: Path) -> Iterator[Path]:
    """Yield this folder and all below it, in the order of their names, each once even if links lead to it."""
    seen = set()
    for path, inner, _ in os.walk(folder, followlinks=True):
        real = os.path.realpath(path)
        inner[:] = [] if real in seen else sorted(name for name in inner if not name.startswith("."))
        if real not in seen:
            yield Path(path)
        seen.add(real)


def _audio(folder: Path) -> list[Path]:
    audio = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in audio if path.is_file())


def _song(folder: Path, audio: list[Path]) -> Song:
    tracks: dict[str, Path] = {}
    for path in audio:
        source = MIXTURE if path.stem.lower() == MIXTURE else path.stem
        if source in tracks:
            raise UserError(f"{folder}: has {tracks[source].name} and {path.name}; keep one file for each source")
        tracks[source] = path
    mixture = tracks.pop(MIXTURE, None)
    if len(tracks) < 2:
        names = ", ".join(tracks) or "no stem"
        raise UserError(f"{folder}: has {names}; a song needs two sources or more, a file for each")
    song = Song(str(folder), tracks, mixture)
    headers = [files.info(path) for path in song.files]
    _require_equal(song, [header.rate for header in headers], "Hz")
    # The header of a lossy file has only an approximate length.
    exact = [None if is_lossy(header) else header.frames for header in headers]
    _require_equal(song, exact, "samples")
    return song


def _require_equal(song: Song, numbers: list[int] | list[int | None], unit: str) -> None:
    exact = [(path, number) for path, number in zip(song.files, numbers, strict=True) if number is not None]
    for path, number in exact[1:]:
        first, expected = exact[0]
        if number != expected:
            raise UserError(
                f"{song.name}: {path.name} has {number} {unit} and {first.name} {expected}; the stems of a song must "
                "have the same rate and length: cut or convert them"
            )
