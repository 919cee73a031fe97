"""Recordings of the experiment: voices and noises for training, and other recordings of both for tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...audio.files import PathLike, read
from ...audio.resample import resample
from ...errors import UserError
from ...sampling.corpora import Sources, sources_in
from ...systems.mixing import Sounds

_HELD_OUT_EVERY = 4  # each fourth speaker, by name, is held out
_TEST_SHARE = 0.3  # of the files of each other source, at the end, or of its time if it has one file

# The project's test recordings: speakers, and noises with their files.
_SPEAKERS, _HELD_OUT_SPEAKER = ("george", "jackson", "lucas", "nicolas"), "nicolas"
_NOISES = {
    "cafe": ("cafe",),
    "crowd": tuple(f"crowd_{number:02d}" for number in range(1, 10)),
    "ambient 2": ("ambient_2",),
    "ambient 5": ("ambient_5",),
    "diffuse": ("diffuse",),
    "machine": ("machine",),
    "traffic": ("traffic",),
    "wind": ("wind",),
    "ambient 3": ("ambient_3",),
}


@dataclass(frozen=True)
class Recordings:
    """Recordings by source, all at one rate.

    Attributes:
        voices, noises: for training.
        in_set: voices of the same speakers and noises of the same kinds for tests, from other files.
        out_of_set: voices of held-out speakers, and the noises of `in_set`.
        description: one line.
        stationary: the half of the kinds of noise whose level changes least.
        small: whether there is so little data that small networks suit it.
    """

    voices: Sounds
    noises: Sounds
    in_set: tuple[Sounds, Sounds]
    out_of_set: tuple[Sounds, Sounds]
    description: str
    stationary: tuple[str, ...]
    small: bool = False


def load(data: PathLike, rate: int, min_samples: int) -> Recordings:
    """Read the recordings in a folder: speech/ and noise/ (see `sources_in`), or the project's test recordings.

    All kinds of noise are for training and for tests, and no file is for both: the last 30 % of the files of each kind
    are for tests. So are those of each speaker; every fourth speaker is held out altogether. Of a source with a single
    file, the last 30 % of the time are for tests.

    Args:
        data: the folder.
        rate: in Hz, to which recordings are resampled.
        min_samples: samples that a source must have for training or for tests; shorter sources are left out.

    Raises UserError if a folder is missing, or if no source is long enough.
    """
    folder = Path(data)
    if (folder / "speech" / f"digit_0_{_SPEAKERS[0]}.flac").is_file() and (folder / "noise" / "cafe.flac").is_file():
        voices = {name: sorted((folder / "speech").glob(f"digit_*_{name}.flac")) for name in _SPEAKERS}
        noises = {name: [folder / "noise" / f"{file}.flac" for file in files] for name, files in _NOISES.items()}
        return _recordings(voices, noises, {_HELD_OUT_SPEAKER}, rate, min_samples, small=True)
    for name in ("speech", "noise"):
        if not (folder / name).is_dir():
            raise UserError(f"{folder / name}: no such folder; DATA needs speech/ and noise/, a folder for each source")
    voices, noises = sources_in(folder / "speech"), sources_in(folder / "noise")
    held_out = set(sorted(voices)[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY])
    return _recordings(voices, noises, held_out, rate, min_samples, small=False)


def _recordings(
    voices: Sources, noises: Sources, held_out: set[str], rate: int, min_samples: int, small: bool
) -> Recordings:
    """Read all sources and split them; `held_out` has the speakers who are not in training."""
    split_voices = {name: _split(files, rate) for name, files in voices.items() if name not in held_out}
    split_noises = {name: _split(files, rate) for name, files in noises.items()}
    other_voices = {name: _concatenate(files, rate) for name, files in voices.items() if name in held_out}
    parts: dict[str, Sounds] = {}
    for purpose, kind, sounds in (
        ("training", "speech", {name: training for name, (training, _) in split_voices.items()}),
        ("training", "noise", {name: training for name, (training, _) in split_noises.items()}),
        ("in-set tests", "speech", {name: test for name, (_, test) in split_voices.items()}),
        ("out-of-set tests", "speech", other_voices),
        ("tests", "noise", {name: test for name, (_, test) in split_noises.items()}),
    ):
        parts[f"{purpose} {kind}"] = long_enough = _long_enough(sounds, min_samples)
        if not long_enough:
            raise UserError(
                f"{kind}: no source has {min_samples / rate:g} s for {purpose}; give more or longer sources"
            )
    training = parts["training speech"], parts["training noise"]
    seconds = [sum(len(r) for recordings in part.values() for r in recordings) / rate for part in training]
    description = (
        f"Training: {len(training[0])} voices, {seconds[0]:.0f} s, and {len(training[1])} noises, {seconds[1]:.0f} s; "
        f"held out: voices {', '.join(parts['out-of-set tests speech'])}; tests: other files of the same noises, or "
        f"other times of a noise with one file, {', '.join(parts['tests noise'])}."
    )
    return Recordings(
        *training,
        (parts["in-set tests speech"], parts["tests noise"]),
        (parts["out-of-set tests speech"], parts["tests noise"]),
        description,
        _stationary(parts["tests noise"], rate),
        small,
    )


def _split(files: Sequence[Path], rate: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return a source for training and for tests, of different files if it has two or more."""
    if len(files) > 1:
        count = min(max(1, round(_TEST_SHARE * len(files))), len(files) - 1)
        return _concatenate(files[:-count], rate), _concatenate(files[-count:], rate)
    samples = _concatenate(files, rate)
    cut = round(len(samples) * (1 - _TEST_SHARE))
    return samples[:cut], samples[cut:]


def _stationary(noises: Sounds, rate: int) -> tuple[str, ...]:
    """Return the half of the noises, rounded down, whose level in frames of 50 ms has the smallest deviation in dB."""
    deviations = {}
    for name, (samples,) in noises.items():
        length = max(1, rate // 20)
        frames = samples[: len(samples) // length * length].reshape(-1, length)
        levels = 10 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-10)
        deviations[name] = float(levels.std())
    return tuple(sorted(deviations, key=deviations.__getitem__)[: len(deviations) // 2])


def _concatenate(files: Sequence[Path], rate: int) -> NDArray[np.float32]:
    """Return the recordings of a source end to end, each the mean of its channels, with an RMS of 1."""
    recordings = []
    for file in files:
        samples, file_rate = read(file)
        mono = resample(samples.mean(axis=1, keepdims=True), file_rate, rate)[:, 0]
        level = float(np.sqrt(np.mean(np.square(mono, dtype=np.float64)))) if len(mono) else 0.0
        recordings.append(mono / level if level else mono[:0])
    return np.concatenate(recordings).astype(np.float32)


def _long_enough(sounds: dict[str, NDArray[np.float32]], min_samples: int) -> Sounds:
    return {name: [samples] for name, samples in sounds.items() if len(samples) >= min_samples}
