"""What the networks learn from and are tested on: songs of a folder, or songs made by code and two speakers."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...audio.files import PathLike
from ...errors import UserError
from ...systems.cdae import Piece, Settings, StemExcerpts, make_excerpts
from ...training.stems import TRAINING, Song, songs
from . import synthesis

logger = logging.getLogger("partae_fast")

TESTING = "test"
SPEAKERS = "separation"  # in the folder of the project's test recordings

# The small run: as many songs, and as long, as two processor cores can learn from in some minutes.
LEARNT, LEARNT_SECONDS = 4, 10.0
TESTED, TESTED_SECONDS = 8, 6.0
SMALL_EPOCHS, SMALL_BATCH = 20, 20
# Two speakers, 4 s in all: the share of time that is learnt from; an epoch of so little is one step.
SPOKEN_SHARE, SPOKEN_EPOCHS = 0.6, 60


@dataclass(frozen=True)
class Task:
    """One thing to be learnt: pieces to learn from and others, or other times of them, to be tested on.

    settings: by the kind of network. about: what it is, in words.
    """

    name: str
    learnt: list[Piece]
    tested: list[Piece]
    settings: dict[str, Settings]
    about: str

    def material(self, network: str) -> StemExcerpts:
        return make_excerpts(self.learnt, self.settings[network])

    @property
    def sources(self) -> tuple[str, ...]:
        return tuple(self.learnt[0].stems)


def tasks(
    data: PathLike | None,
    epochs: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> list[Task]:
    """The tasks that a folder holds; see `run` for its layout. None: songs made by code.

    Raises UserError where songs cannot be learnt from.
    """
    folder = None if data is None else Path(data)
    if folder is not None and not (folder / SPEAKERS).is_dir():
        return [_recorded(folder, epochs, batch, seconds)]
    found = [_made(seed, epochs, batch, seconds)]
    return found if folder is None else [*found, _spoken(folder / SPEAKERS, epochs, batch)]


def _settings(rate: int, epochs: int, batch: int | None, segments: int) -> dict[str, Settings]:
    """Of both networks: `segments` in a batch of the convolutional one where the paper's number is not wanted."""
    common = Settings(rate=rate, epochs=epochs)
    return {
        "fnn": replace(common, network="fnn", batch=batch or common.batch),
        "cdae": replace(common, network="cdae", batch=batch or segments),
    }


def _made(seed: int, epochs: int | None, batch: int | None, seconds: float | None) -> Task:
    rate = Settings.rate

    def piece(number: int, duration: float) -> Piece:
        stems = synthesis.song(seed, number, min(seconds or duration, duration), rate)
        return Piece(f"song {number + 1}", np.sum(list(stems.values()), axis=0), stems)

    learnt = [piece(number, LEARNT_SECONDS) for number in range(LEARNT)]
    tested = [piece(LEARNT + number, TESTED_SECONDS) for number in range(TESTED)]
    return Task(
        "songs",
        learnt,
        tested,
        _settings(rate, epochs or SMALL_EPOCHS, batch, SMALL_BATCH),
        f"Songs made by code (seed {seed}), not recorded: {_lengths(learnt, rate)} to learn from, "
        f"{_lengths(tested, rate)} to be tested on. The paper has 50 and 50 songs of DSD100.",
    )


def _recorded(folder: Path, epochs: int | None, batch: int | None, seconds: float | None) -> Task:
    settings = _settings(Settings.rate, epochs or Settings.epochs, batch, Settings.batch)
    parted = [folder / TRAINING, folder / TESTING]
    if all(path.is_dir() for path in parted):
        learnt, tested = (songs([path]) for path in parted)
    else:
        found = songs([folder])
        if len(found) < 2:
            raise UserError(f"{folder}: has one song; give two or more, to learn from some and test on others")
        half = (len(found) + 1) // 2
        learnt, tested = found[:half], found[half:]
    if learnt[0].stems.keys() != tested[0].stems.keys():
        raise UserError(f"{folder}: songs in {TRAINING}/ and {TESTING}/ have other stems; give the same in both")
    read = [[_read(song, folder, seconds) for song in part] for part in (learnt, tested)]
    limit = f", the first {seconds:g} s of each" if seconds else ""
    return Task(
        "songs",
        read[0],
        read[1],
        settings,
        f"Songs in {folder.name}: {_lengths(read[0], Settings.rate)} to learn from, "
        f"{_lengths(read[1], Settings.rate)} to be tested on{limit}. The paper has 50 and 50 songs of DSD100.",
    )


def _spoken(folder: Path, epochs: int | None, batch: int | None) -> Task:
    (song,) = songs([folder])
    rate = song.rate
    mixture, stems = song.read(rate)
    cut = round(len(mixture) * SPOKEN_SHARE)
    learnt, tested = (
        Piece(Path(song.name).name, mixture[part], dict(zip(song.stems, stems[:, part], strict=True)))
        for part in (slice(cut), slice(cut, None))
    )
    return Task(
        "speakers",
        [learnt],
        [tested],
        _settings(rate, epochs or SPOKEN_EPOCHS, batch, SMALL_BATCH),
        f"Two speakers, one recording at {rate} Hz: {cut / rate:.1f} s to learn from, the other "
        f"{(len(mixture) - cut) / rate:.1f} s to be tested on. No claim rests on it.",
    )


def _read(song: Song, folder: Path, seconds: float | None) -> Piece:
    rate = Settings.rate
    mixture, stems = song.read(rate)
    end = round(seconds * rate) if seconds else len(mixture)
    return Piece(
        str(Path(song.name).relative_to(folder)), mixture[:end], dict(zip(song.stems, stems[:, :end], strict=True))
    )


def _lengths(pieces: Sequence[Piece], rate: int) -> str:
    return f"{len(pieces)} songs, {sum(len(piece.mixture) for piece in pieces) / rate:.0f} s in all"
