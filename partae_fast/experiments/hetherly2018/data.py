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

_HELD_OUT_EVERY = 4  # each fourth source, by name, is held out
_TEST_SHARE = 0.3  # of the time of the other sources, at the end

# The project's test recordings: speakers, noises with their files, and the sources that are held out.
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
_HELD_OUT_NOISES = ("machine", "traffic", "wind", "ambient 3")


@dataclass(frozen=True)
class Recordings:
    """Recordings by source, all at one rate.

    Attributes:
        voices, noises: for training.
        in_set: voices and noises of the same sources for tests, from other times.
        out_of_set: voices and noises of held-out sources for tests.
        description: one line.
        small: whether there is so little data that small networks suit it.
    """

    voices: Sounds
    noises: Sounds
    in_set: tuple[Sounds, Sounds]
    out_of_set: tuple[Sounds, Sounds]
    description: str
    small: bool = False


def load(data: PathLike, rate: int, min_samples: int) -> Recordings:
    """Read the recordings in a folder: speech/ and noise/ (see `sources_in`), or the project's test recordings.

    Every fourth source is held out. Of the other sources, the last 30 % of the time are for tests.

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
        held_out: list[set[str]] = [{_HELD_OUT_SPEAKER}, {*_HELD_OUT_NOISES}]
        return _recordings(voices, noises, held_out, rate, min_samples, small=True)
    for name in ("speech", "noise"):
        if not (folder / name).is_dir():
            raise UserError(f"{folder / name}: no such folder; DATA needs speech/ and noise/, a folder for each source")
    voices, noises = sources_in(folder / "speech"), sources_in(folder / "noise")
    held_out = [set(sorted(sources)[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]) for sources in (voices, noises)]
    return _recordings(voices, noises, held_out, rate, min_samples, small=False)


def _recordings(
    voices: Sources, noises: Sources, held_out: Sequence[set[str]], rate: int, min_samples: int, small: bool
) -> Recordings:
    training, in_set, out_of_set = [], [], []
    for kind, sources, excluded in zip(("speech", "noise"), (voices, noises), held_out, strict=True):
        sounds = {name: _concatenate(files, rate) for name, files in sources.items()}
        cut = {name: round(len(samples) * (1 - _TEST_SHARE)) for name, samples in sounds.items()}
        included = [name for name in sounds if name not in excluded]
        training.append(_long_enough({name: sounds[name][: cut[name]] for name in included}, min_samples))
        in_set.append(_long_enough({name: sounds[name][cut[name] :] for name in included}, min_samples))
        out_of_set.append(_long_enough({name: sounds[name] for name in sounds if name in excluded}, min_samples))
        for part, purpose in ((training, "training"), (in_set, "in-set tests"), (out_of_set, "out-of-set tests")):
            if not part[-1]:
                raise UserError(
                    f"{kind}: no source has {min_samples / rate:g} s for {purpose}; give more or longer sources"
                )
    seconds = [sum(len(r) for recordings in part.values() for r in recordings) / rate for part in training]
    description = (
        f"Training: {len(training[0])} voices, {seconds[0]:.0f} s, and {len(training[1])} noises, {seconds[1]:.0f} s; "
        f"held out: voices {', '.join(out_of_set[0])}; noises {', '.join(out_of_set[1])}."
    )
    return Recordings(
        training[0], training[1], (in_set[0], in_set[1]), (out_of_set[0], out_of_set[1]), description, small
    )


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
