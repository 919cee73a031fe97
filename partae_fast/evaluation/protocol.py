"""The evaluation protocol: random mixtures in two halves that share no kind of sound.

A setting is chosen on one half and reported on the other. docs/quality.md has the protocol and its results.
"""

import functools
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..audio import files
from ..audio.files import PathLike
from ..audio.folders import recordings_in
from ..audio.resample import resample
from ..errors import UserError
from .audible import Audible
from .evaluate import ALL_PEERS, Row, available, scored
from .peers import Denoiser
from .scenes import Scene, band_of

logger = logging.getLogger("partae_fast")

LEVELS = (-10.0, -5.0, 0.0, 5.0, 10.0)  # dB, of the song over the noise, in the song's band
SHORT, LONG, LONGEST = 3.0, 10.0, 20.0  # seconds of noise-only audio: SHORT, or LONG to LONGEST
LEAST, MOST = 3.0, 8.0  # seconds of a mixture
OFF = {"louder": 6.0, "quieter": -6.0, "other": 0.0}  # mismatched noise-only audio: excess level, dB
SEEDS = 3  # models trained on the first mixture of every REPEATED-th scene
REPEATED = 4
QUICK = 3  # a quick run has every QUICK-th scene, at one level, with matched noise-only audio

Audio = NDArray[np.float32]


class Recording(NamedTuple):
    """A file, its kind (the name of its folder, or of the file itself) and its duration in seconds."""

    path: Path
    kind: str
    seconds: float

    @property
    def name(self) -> str:
        return f"{self.kind}/{self.path.stem}" if self.kind != self.path.stem else self.kind


@dataclass(frozen=True)
class Case:
    """A mixture to denoise, with its noise-only audio.

    half: 0 or 1. kind: of the song. level: dB. noise_only: "matched", or a key of `OFF`. seeds: of the models.
    """

    scene: Scene
    half: int
    kind: str
    level: float
    noise_only: str
    seeds: tuple[int, ...] = (0,)

    @property
    def seconds(self) -> float:
        """The duration of the noise-only audio."""
        return len(self.scene.noise_only) / self.scene.rate

    def about(self) -> dict[str, Any]:
        """Return the columns that identify the case in a row of results."""
        length = "short" if self.seconds < (SHORT + LONG) / 2 else "long"
        return {"half": self.half, "kind": self.kind, "noise_only": self.noise_only, "length": length}


def draw(folder: PathLike, scenes: int = 48, seed: int = 0, quick: bool = False) -> Iterator[Case]:
    """Yield the protocol's mixtures of the recordings in a folder.

    The folder has the folders clean/ and noise/, each with a folder for every kind of sound. The kinds are divided into
    two halves, and a scene is a song in a noise of the same half. Each scene is mixed at two levels, one with short and
    one with long noise-only audio if its noise is long enough, and once more with noise-only audio that is 6 dB too
    loud, 6 dB too quiet, or from another recording of the kind.

    Args:
        folder: the recordings. Songs shorter than 3 s are left out. Noises shorter than 6 s are only used as other
            recordings of their kind.
        scenes: number of scenes, even.
        seed: decides halves, pairs and crops; equal seeds give equal mixtures.
        quick: draw a third of the scenes, at one level each.

    Raises UserError if there are too few recordings or kinds.
    """
    if scenes < 2 or scenes % 2:
        raise UserError(f"scenes is {scenes}; it must be an even number, 2 or more")
    songs, noises = (_recordings(Path(folder) / name) for name in ("clean", "noise"))
    songs = [song for song in songs if song.seconds >= LEAST]
    long_enough = [noise for noise in noises if noise.seconds >= LEAST + SHORT]
    rng = np.random.default_rng([seed, 0x9A])
    halves = list(zip(_halves(songs, rng, "clean"), _halves(long_enough, rng, "noise"), strict=True))
    for half, (own_songs, own_noises) in enumerate(halves):
        pairs = _pairs(own_songs, own_noises, scenes // 2, rng)
        for number, (song, noise) in enumerate(pairs):
            draws = np.random.default_rng([seed, half, number])
            if quick and number % QUICK:
                continue
            others = [n for n in noises if n.kind == noise.kind and n.path != noise.path and n.seconds >= SHORT]
            yield from _cases(song, noise, others, half, number, draws, quick)


def _recordings(folder: Path) -> list[Recording]:
    return [
        Recording(path, path.stem if path.parent == folder else path.relative_to(folder).parts[0], about.seconds)
        for path in recordings_in(folder)
        for about in [files.info(path)]
    ]


def _halves(recordings: list[Recording], rng: np.random.Generator, name: str) -> tuple[list[Recording], ...]:
    """Divide the kinds into two halves with about equally many recordings."""
    counts = Counter(recording.kind for recording in recordings)
    if len(counts) < 2:
        raise UserError(
            f"{name}: {len(counts)} kinds of recordings are long enough, and two halves need 2 or more; put recordings "
            "of each kind into a folder of its own"
        )
    kinds = sorted(counts)
    divided: tuple[list[str], list[str]] = ([], [])
    for kind in sorted((kinds[i] for i in rng.permutation(len(kinds))), key=lambda kind: -counts[kind]):
        min(divided, key=lambda half: sum(counts[own] for own in half)).append(kind)
    return tuple([recording for recording in recordings if recording.kind in half] for half in divided)


def _pairs(
    songs: list[Recording], noises: list[Recording], count: int, rng: np.random.Generator
) -> list[tuple[Recording, Recording]]:
    """Return `count` different pairs that use all kinds, and all recordings of a kind, about equally often."""
    if count > len(songs) * len(noises):
        raise UserError(
            f"a half has {len(songs)} songs and {len(noises)} noises, fewer pairs than the {count} scenes of a "
            "half; give more recordings, or fewer scenes"
        )
    pairs: list[tuple[Recording, Recording]] = []
    uses: Counter[str | Path] = Counter()

    def used(recording: Recording) -> int:
        return count * uses[recording.kind] + uses[recording.path]

    while len(pairs) < count:
        free = [pair for song in songs for noise in noises if (pair := (song, noise)) not in pairs]
        song, noise = min((free[i] for i in rng.permutation(len(free))), key=lambda pair: sum(map(used, pair)))
        pairs.append((song, noise))
        uses.update((song.kind, song.path, noise.kind, noise.path))
    return pairs


def _cases(
    song: Recording,
    noise: Recording,
    others: list[Recording],
    half: int,
    number: int,
    rng: np.random.Generator,
    quick: bool,
) -> Iterator[Case]:
    """Yield the cases of one scene."""
    lengths = [SHORT, LONG] if number % 2 else [LONG, SHORT]
    levels = [LEVELS[number % len(LEVELS)], LEVELS[(number + 2) % len(LEVELS)]]
    seeds = tuple(range(SEEDS)) if number % REPEATED == 0 and not quick else (0,)

    cut = int(rng.integers(2**32))

    def scene(seconds: float, other: Recording | None = None) -> Scene:
        return _scene(song, noise, other, seconds, np.random.default_rng(cut))

    for level, seconds, models in zip(levels, lengths, (seeds, (0,)), strict=True):
        yield Case(scene(seconds), half, song.kind, level, "matched", models)
        if quick:
            return
    kinds = [kind for kind in OFF if kind != "other" or others]
    off = kinds[(number + half) % len(kinds)]
    other = others[rng.integers(len(others))] if off == "other" else None
    yield Case(scene(lengths[0], other), half, song.kind, levels[0], off)


def _scene(
    song: Recording, noise: Recording, other: Recording | None, seconds: float, rng: np.random.Generator
) -> Scene:
    """Return a scene with about `seconds` of noise-only audio, taken from `other` if it is given."""
    samples, rate = _read(song.path)
    if seconds == LONG and noise.seconds < LEAST + LONG:
        seconds = SHORT
    mixed = min(MOST, song.seconds, noise.seconds - seconds)
    rest = SHORT if seconds == SHORT else min(LONGEST, noise.seconds - mixed)
    part = _loudest(samples, round(mixed * rate), rng)
    of_noise, end = _resampled(noise.path, rate)
    mixed_noise, noise_only = _apart(of_noise, len(part), round(rest * rate), rng)
    if other is not None:
        of_other, its_end = _resampled(other.path, rate)
        noise_only, end = _like(of_other[: len(noise_only)], noise_only), min(end, its_end)
    low, high = band_of(part, rate)
    return Scene(f"{song.name} in {noise.name}", part, mixed_noise, noise_only, rate, (low, min(high, end)))


@functools.lru_cache(maxsize=64)
def _read(path: Path) -> tuple[Audio, int]:
    """Return the first channel of a recording and its rate."""
    samples, rate = files.read(path)
    files.require_sound(samples[:, 0], str(path))
    return samples[:, 0], rate


@functools.lru_cache(maxsize=64)
def _resampled(path: Path, rate: int) -> tuple[Audio, float]:
    """Return the first channel of a recording, resampled, and the upper end of its band in Hz."""
    samples, own = _read(path)
    return resample(samples, own, rate), min(rate, own) / 2


def _loudest(samples: Audio, length: int, rng: np.random.Generator) -> Audio:
    """Return the loudest of four random crops."""
    starts = rng.integers(len(samples) - length + 1, size=4)
    return max((samples[start : start + length] for start in starts), key=lambda part: float(part @ part))


def _apart(noise: Audio, mixed: int, rest: int, rng: np.random.Generator) -> tuple[Audio, Audio]:
    """Return two crops that do not overlap: the noise of the mixture, and noise-only audio."""
    mixed, rest = min(mixed, len(noise)), min(rest, len(noise) - mixed)
    first = int(rng.integers(len(noise) - mixed - rest + 1))
    if rng.random() < 0.5:
        return noise[first : first + mixed], noise[first + mixed : first + mixed + rest]
    return noise[first + rest : first + rest + mixed], noise[first : first + rest]


def _like(other: Audio, noise_only: Audio) -> Audio:
    """Return another recording, scaled to the level of the noise-only audio."""
    level, own = (float(np.sqrt(np.mean(np.square(part, dtype=np.float64)))) for part in (noise_only, other))
    return (other * np.float32(level / own)).astype(np.float32)


def _within_full_scale(scene: Scene, level: float, mismatch: float) -> Scene:
    """Return the scene, divided by the peak of its mixture and noise-only audio if that is above full scale."""
    peak = max(float(np.abs(audio).max()) for audio in scene.mixture(level, mismatch))
    if peak <= 1:
        return scene
    song, noise, noise_only = (audio / np.float32(peak) for audio in (scene.song, scene.noise, scene.noise_only))
    return replace(scene, song=song, noise=noise, noise_only=noise_only)


def run(
    cases: Sequence[Case],
    systems: Mapping[str, Callable[[int], Denoiser]],
    others: Sequence[str] | None = None,
    progress_callback: Callable[[list[Row]], None] | None = None,
) -> list[Row]:
    """Denoise every case with every system and peer.

    Args:
        cases: from `draw`.
        systems: for each name, a function from a seed to a denoiser.
        others: names in `ALL_PEERS`; None for all that are installed.
        progress_callback: called after every case with all rows so far.

    Returns a row for each case, method and seed, with the columns of `Case.about` and the scores.
    """
    others = available(others, ALL_PEERS)
    rows: list[Row] = []
    for number, case in enumerate(cases, start=1):
        mismatch = OFF.get(case.noise_only, 0.0)
        ours = {name: [(seed, make(seed)) for seed in case.seeds] for name, make in systems.items()}
        scene = _within_full_scale(case.scene, case.level, mismatch)
        added = scored(scene, case.level, mismatch, others, ours, functools.partial(Audible, kind=case.kind))
        rows += [{**case.about(), **row} for row in added]
        best = ", ".join(f"{row['method']} {row['si_sdr']:.1f}" for row in added)
        logger.info("%d: %s at %g dB, noise-only %s: %s", number, case.scene.name, case.level, case.noise_only, best)
        if progress_callback:
            progress_callback(rows)
    return rows
