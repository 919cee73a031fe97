"""Songs for training and tests: from a folder, or synthetic songs and a recording of two speakers."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ...audio.files import PathLike
from ...errors import UserError
from ...systems.cdae import Piece, Settings, StemExcerpts, make_excerpts
from ...training.stems import TRAINING, Song, songs
from . import synthesis

TESTING = "test"
SPEAKERS = "separation"  # in the folder of the project's test recordings

# The small run has as many songs as two CPU cores can learn in some minutes. Its epochs have more steps than segments.
TRAINING_SONGS, TRAINING_SECONDS = 4, 10.0
TEST_SONGS, TEST_SECONDS = 8, 6.0
SMALL_EPOCHS, SMALL_EPOCH_STEPS = 15, 10
# A small run on recorded songs has this many for training and for tests, and these seconds of each.
RECORDED_SONGS, RECORDED_SECONDS = 8, 20.0
# The recording of two speakers lasts 4 s; this share is for training.
SPEAKERS_SHARE, SPEAKERS_EPOCHS = 0.6, 6


@dataclass(frozen=True)
class Dataset:
    """Pieces for training, and other pieces or later parts of the same for tests.

    Attributes:
        name: in tables and file names.
        training, test: pieces with the same sources.
        settings: by kind of network.
        description: one line.
    """

    name: str
    training: list[Piece]
    test: list[Piece]
    settings: dict[str, Settings]
    description: str

    def excerpts(self, network: str) -> StemExcerpts:
        """Return the training data of a kind of network."""
        return make_excerpts(self.training, self.settings[network])

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources."""
        return tuple(self.training[0].stems)


def load(
    data: PathLike | None,
    epochs: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    count: int | None = None,
    seed: int = 0,
    small: bool = False,
) -> list[Dataset]:
    """Return the datasets of a folder, the one for the claims first; see `run` for the layout and the arguments.

    `count` is the argument `songs` of `run`, and `small` is for a small run on recorded songs.

    Raises UserError if the songs are unsuitable for training.
    """
    folder = None if data is None else Path(data)
    if folder is not None and not (folder / SPEAKERS).is_dir():
        return [_recorded(folder, epochs, batch, seconds, count, small)]
    synthetic = _synthetic(seed, epochs, batch, seconds)
    return [synthetic] if folder is None else [synthetic, _speakers(folder / SPEAKERS, epochs, batch)]


def _settings(rate: int, epochs: int, batch: int | None, epoch_steps: int) -> dict[str, Settings]:
    """Return the settings of both networks, which differ in the network alone."""
    common = Settings(rate=rate, epochs=epochs, epoch_steps=epoch_steps, batch=batch or Settings.batch)
    return {network: replace(common, network=network) for network in ("fnn", "cdae")}


def _epoch_steps(pieces: Sequence[Piece], batch: int | None) -> int:
    """Return the steps in which the convolutional network uses the pieces once."""
    paper = Settings()
    seconds = sum(len(piece.mixture) for piece in pieces) / paper.rate * (1 - paper.held_out)
    return max(1, round(seconds * paper.rate / paper.hop / paper.frames / (batch or paper.batch)))


def _synthetic(seed: int, epochs: int | None, batch: int | None, seconds: float | None) -> Dataset:
    rate = Settings.rate

    def piece(number: int, duration: float) -> Piece:
        stems = synthesis.song(seed, number, min(seconds or duration, duration), rate)
        return Piece(f"song {number + 1}", np.sum(list(stems.values()), axis=0), stems)

    training = [piece(number, TRAINING_SECONDS) for number in range(TRAINING_SONGS)]
    test = [piece(TRAINING_SONGS + number, TEST_SECONDS) for number in range(TEST_SONGS)]
    return Dataset(
        "songs",
        training,
        test,
        _settings(rate, epochs or SMALL_EPOCHS, batch, SMALL_EPOCH_STEPS),
        f"Synthetic songs (seed {seed}): {_durations(training, rate)} for training, {_durations(test, rate)} for "
        "tests. The paper has 50 and 50 songs of DSD100.",
    )


def _recorded(
    folder: Path, epochs: int | None, batch: int | None, seconds: float | None, count: int | None, small: bool
) -> Dataset:
    subfolders = [folder / TRAINING, folder / TESTING]
    if all(path.is_dir() for path in subfolders):
        training_songs, test_songs = (songs([path]) for path in subfolders)
    else:
        all_songs = songs([folder])
        if len(all_songs) < 2:
            raise UserError(f"{folder}: has one song; give two or more, because some are for tests")
        half = (len(all_songs) + 1) // 2
        training_songs, test_songs = all_songs[:half], all_songs[half:]
    if training_songs[0].stems.keys() != test_songs[0].stems.keys():
        raise UserError(f"{folder}: songs in {TRAINING}/ and {TESTING}/ have different stems; give the same in both")
    if small:
        seconds, epochs, count = seconds or RECORDED_SECONDS, epochs or SMALL_EPOCHS, count or RECORDED_SONGS
    training, test = (
        [_read(song, folder, seconds) for song in _spread(part, count or len(part))]
        for part in (training_songs, test_songs)
    )
    epoch_steps = SMALL_EPOCH_STEPS if small else _epoch_steps(training, batch)
    settings = _settings(Settings.rate, epochs or Settings.epochs, batch, epoch_steps)
    limit = f", the middle {seconds:g} s of each" if seconds else ""
    return Dataset(
        "songs",
        training,
        test,
        settings,
        f"Songs in {folder.name}: {_durations(training, Settings.rate)} for training, "
        f"{_durations(test, Settings.rate)} for tests{limit}. The paper has 50 and 50 songs of DSD100.",
    )


def _speakers(folder: Path, epochs: int | None, batch: int | None) -> Dataset:
    (song,) = songs([folder])
    rate = song.rate
    mixture, stems = song.read(rate)
    cut = round(len(mixture) * SPEAKERS_SHARE)
    training, test = (
        Piece(Path(song.name).name, mixture[part], dict(zip(song.stems, stems[:, part], strict=True)))
        for part in (slice(cut), slice(cut, None))
    )
    return Dataset(
        "speakers",
        [training],
        [test],
        _settings(rate, epochs or SPEAKERS_EPOCHS, batch, SMALL_EPOCH_STEPS),
        f"Two speakers, one recording at {rate} Hz: {cut / rate:.1f} s for training, the other "
        f"{(len(mixture) - cut) / rate:.1f} s for tests. The claims do not depend on it.",
    )


def _spread(items: list[Song], count: int) -> list[Song]:
    """Return at most `count` of the songs, spread evenly."""
    return items if len(items) <= count else [items[i * len(items) // count] for i in range(count)]


def _read(song: Song, folder: Path, seconds: float | None) -> Piece:
    rate = Settings.rate
    mixture, stems = song.read(rate)
    length = min(round(seconds * rate), len(mixture)) if seconds else len(mixture)
    first = (len(mixture) - length) // 2
    part = slice(first, first + length)
    return Piece(
        str(Path(song.name).relative_to(folder)), mixture[part], dict(zip(song.stems, stems[:, part], strict=True))
    )


def _durations(pieces: Sequence[Piece], rate: int) -> str:
    noun = "song" if len(pieces) == 1 else "songs"
    return f"{len(pieces)} {noun}, {sum(len(piece.mixture) for piece in pieces) / rate:.0f} s in total"
