"""Voices and noises to learn from, and others of both to be tested on."""

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

_HELD_OUT_EVERY = 4  # of the sources, by name: each fourth is not learnt from
_TESTED = 0.3  # of the time of a source that is learnt from, at its end

# The project's own test recordings: who speaks which files, and which noises are held out.
_SPEAKERS, _OUTSIDE_SPEAKER = ("george", "jackson", "lucas", "nicolas"), "nicolas"
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
_OUTSIDE_NOISES = ("machine", "traffic", "wind", "ambient 3")


@dataclass(frozen=True)
class Material:
    """Recordings by source at one rate.

    voices, noises: to learn from. inside: voices and noises of the same sources, from other times. outside: of sources
    that are not learnt from. about: a line that says what it is. small: whether it is so little that small networks
    suit it.
    """

    voices: Sounds
    noises: Sounds
    inside: tuple[Sounds, Sounds]
    outside: tuple[Sounds, Sounds]
    about: str
    small: bool = False


def load(data: PathLike, rate: int, least: int) -> Material:
    """The material in a folder: `speech` and `noise`, each as `sources_in` reads it, or the project's test recordings.

    Args:
        rate: Hz, to which recordings are brought. least: samples that a source must have in each part that it is in.

    Every fourth source is held out altogether; of the others the last 30 % of the time is for tests. Sources with too
    little are left out.

    Raises UserError where a folder is missing, or nothing is left of a part.
    """
    top = Path(data)
    if (top / "speech" / f"digit_0_{_SPEAKERS[0]}.flac").is_file() and (top / "noise" / "cafe.flac").is_file():
        voices = {name: sorted((top / "speech").glob(f"digit_*_{name}.flac")) for name in _SPEAKERS}
        noises = {name: [top / "noise" / f"{file}.flac" for file in its] for name, its in _NOISES.items()}
        outside: list[set[str]] = [{_OUTSIDE_SPEAKER}, {*_OUTSIDE_NOISES}]
        return _material(voices, noises, outside, rate, least, small=True)
    for name in ("speech", "noise"):
        if not (top / name).is_dir():
            raise UserError(f"{top / name}: no such folder; DATA needs speech/ and noise/, a folder for each source")
    voices, noises = sources_in(top / "speech"), sources_in(top / "noise")
    outside = [set(sorted(kind)[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]) for kind in (voices, noises)]
    return _material(voices, noises, outside, rate, least, small=False)


def _material(
    voices: Sources, noises: Sources, outside: Sequence[set[str]], rate: int, least: int, small: bool
) -> Material:
    learnt, inside, apart = [], [], []
    for kind, sources, held_out in zip(("speech", "noise"), (voices, noises), outside, strict=True):
        sounds = {name: _joined(files, rate) for name, files in sources.items()}
        cut = {name: round(len(samples) * (1 - _TESTED)) for name, samples in sounds.items()}
        own = [name for name in sounds if name not in held_out]
        learnt.append(_long_enough({name: sounds[name][: cut[name]] for name in own}, least))
        inside.append(_long_enough({name: sounds[name][cut[name] :] for name in own}, least))
        apart.append(_long_enough({name: sounds[name] for name in sounds if name in held_out}, least))
        for part, what in ((learnt, "learn from"), (inside, "be tested on at other times"), (apart, "hold out")):
            if not part[-1]:
                raise UserError(
                    f"{kind}: no source has {least / rate:g} s to {what}; give more sources, or longer ones"
                )
    seconds = [sum(len(r) for its in kind.values() for r in its) / rate for kind in learnt]
    about = (
        f"To learn from: {len(learnt[0])} voices, {seconds[0]:.0f} s, and {len(learnt[1])} noises, {seconds[1]:.0f} s; "
        f"held out: voices {', '.join(apart[0])}; noises {', '.join(apart[1])}."
    )
    return Material(learnt[0], learnt[1], (inside[0], inside[1]), (apart[0], apart[1]), about, small)


def _joined(files: Sequence[Path], rate: int) -> NDArray[np.float32]:
    """A source's recordings one after another, the mean of their channels, each at one level."""
    found = []
    for file in files:
        samples, own = read(file)
        mono = resample(samples.mean(axis=1, keepdims=True), own, rate)[:, 0]
        level = float(np.sqrt(np.mean(np.square(mono, dtype=np.float64)))) if len(mono) else 0.0
        found.append(mono / level if level else mono[:0])
    return np.concatenate(found).astype(np.float32)


def _long_enough(sounds: dict[str, NDArray[np.float32]], least: int) -> Sounds:
    return {name: [samples] for name, samples in sounds.items() if len(samples) >= least}
