"""Scenes to score denoisers on: a clean song, noise to mix with it, and noise-only audio of the same kind.

A denoiser gets the mixture and the noise-only audio, which was recorded at another time than the noise in the mixture.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..audio import files
from ..audio.files import PathLike
from ..audio.resample import resample
from ..errors import UserError
from ..metrics import band

logger = logging.getLogger("partae_fast")

Audio = NDArray[np.float32]

LEAST = 0.5  # s of a mixture
MIXED_SHARE = 0.6  # of a noise recording, from its start, is for the mixture; the rest is noise-only audio
_BAND_ENERGY = 0.05, 0.95  # shares of the song's energy below the ends of the default band

# The project's test recordings: the band of each song in Hz, and the files of each noise.
_SHARED_SONGS = {
    "chiffchaff": (1700.0, 7200.0),
    "bengalese_finch_000": (500.0, 8000.0),
    "bengalese_finch_102": (500.0, 8000.0),
}
_SHARED_NOISES = {
    "cafe": ["cafe"],
    "crowd": [f"crowd_{i:02d}" for i in range(1, 10)],
    "ambient_5": ["ambient_5"],
    "diffuse": ["diffuse"],
}


@dataclass(frozen=True)
class Scene:
    """A song, noise and noise-only audio at `rate` Hz; `song` and `noise` have the same length.

    Raises UserError if the band is empty, or if song, noise or noise-only audio is silent in the band.
    """

    name: str
    song: Audio  # (T,)
    noise: Audio  # (T,)
    noise_only: Audio  # (any length,)
    rate: int
    band: tuple[float, float]  # Hz; levels and scores are measured in it

    def __post_init__(self) -> None:
        low, high = self.band
        if not 0 <= low < high <= self.rate / 2:
            raise UserError(
                f"{self.name}: the band is {low:g} to {high:g} Hz; it must not be empty and must lie "
                f"within 0 to {self.rate / 2:g} Hz and below half the rate of the noise: give another --low or --high"
            )
        for part in ("song", "noise", "noise_only"):
            if not band(getattr(self, part), self.rate, low, high).any():
                kind = part.replace("_", "-")
                raise UserError(
                    f"{self.name}: the {kind} audio is silent from {low:g} to {high:g} Hz; give another band"
                )

    def mixture(self, level: float, mismatch: float = 0.0) -> tuple[Audio, Audio]:
        """Return the mixture of song and noise, (T,), and the noise-only audio scaled with the noise.

        The song keeps its level and the noise is scaled, so the noise in the mixture is mixture minus song.

        Args:
            level: of the song relative to the noise, in the band, in dB.
            mismatch: excess level of the noise-only audio over the noise in the mixture, in dB.
        """
        song, noise = (_rms(band(part, self.rate, *self.band)) for part in (self.song, self.noise))
        scale = song / noise / 10 ** (level / 20)
        noise_only = scale * 10 ** (mismatch / 20) * self.noise_only
        return (self.song + scale * self.noise).astype(np.float32), noise_only.astype(np.float32)


def scenes_of(folder: PathLike, low: float | None = None, high: float | None = None) -> list[Scene]:
    """Make scenes from a folder of recordings; the first channel of each is used.

    clean/ and noise/     if both have files of the same names, pairs of the same name; else every combination
    noise_only/NAME       for pairs: the noise-only audio of NAME; the whole noise of NAME is then for the mixture
    birdsong/ and noise/  the project's test recordings: three songs in each of four noises

    Without noise_only/NAME, the first 60 % of a noise recording are for the mixture and the rest is noise-only audio.
    If the noise is shorter than the song, the song is cut to its loudest stretch of that length, or, in the test
    recordings, to its start. Noise is resampled to the song's rate.

    Args:
        folder: with one of these layouts.
        low, high: ends of the band in Hz; None for those that leave 5 % of the song's energy below and 5 % above. The
            upper end is at most half the lowest rate of the recordings.

    Raises UserError if the folder has another layout, if less than 0.5 s of noise are left for a mixture, or if a
    recording cannot be read or is silent.
    """
    folder = Path(folder)
    if (folder / "birdsong").is_dir() and (folder / "noise").is_dir():
        return [
            _scene(
                f"{song}, {noise}",
                folder / "birdsong" / f"{song}.flac",
                [folder / "noise" / f"{name}.flac" for name in names],
                None,
                (ends[0] if low is None else low, ends[1] if high is None else high),
                from_start=True,
            )
            for song, ends in _SHARED_SONGS.items()
            for noise, names in _SHARED_NOISES.items()
        ]
    clean, noises = (_recordings(folder, name) for name in ("clean", "noise"))
    if clean.keys() == noises.keys():
        noise_only = _recordings(folder, "noise_only") if (folder / "noise_only").exists() else {}
        _require_clean(folder, noise_only, clean)
        return [_scene(name, clean[name], [noises[name]], noise_only.get(name), (low, high)) for name in clean]
    return [
        _scene(f"{song}, {noise}", clean[song], [noises[noise]], None, (low, high))
        for song in clean
        for noise in noises
    ]


def _recordings(folder: Path, kind: str) -> dict[str, Path]:
    """Return the files in a subfolder by name without suffix."""
    subfolder = folder / kind
    if not subfolder.is_dir():
        raise UserError(f"{folder}: has no folder {kind}; put clean recordings into clean/ and noise into noise/")
    paths = {path.stem: path for path in sorted(subfolder.iterdir()) if path.is_file() and path.name[0] != "."}
    if not paths:
        raise UserError(f"{subfolder}: has no file; put recordings into it")
    return paths


def _require_clean(folder: Path, noise_only: dict[str, Path], clean: dict[str, Path]) -> None:
    """Raise UserError for noise-only audio without a clean file of the same name."""
    unknown = sorted(noise_only.keys() - clean.keys())
    if unknown:
        raise UserError(f"{noise_only[unknown[0]]}: {folder / 'clean'} has no file of this name; rename or remove it")


def _scene(
    name: str,
    clean: Path,
    noises: Sequence[Path],
    noise_only: Path | None,
    ends: tuple[float | None, float | None],
    from_start: bool = False,
) -> Scene:
    """Read a scene; the noises are concatenated.

    A song that is longer than the noise is cut to its loudest stretch, or to its start.
    """
    song, rate = _read(clean)
    recordings = [_read(path) for path in noises]
    limit = min(rate, *(noise_rate for _, noise_rate in recordings)) / 2
    noise = np.concatenate([resample(samples, noise_rate, rate) for samples, noise_rate in recordings])
    if noise_only is None:
        cut = round(MIXED_SHARE * len(noise))
        noise, rest = noise[:cut], noise[cut:]
    else:
        samples, rest_rate = _read(noise_only)
        limit, rest = min(limit, rest_rate / 2), resample(samples, rest_rate, rate)
    if len(noise) < LEAST * rate:
        raise UserError(
            f"{noises[0]}: leaves {len(noise) / rate:.2f} s of noise for a mixture, and it takes {LEAST:g} s; give "
            "longer recordings of noise"
        )
    length = min(len(song), len(noise))
    first = 0 if from_start else loudest(song, length)
    if length < len(song):
        logger.info("%s: the song is cut to %.2f s from %.2f s on", name, length / rate, first / rate)
    song, noise = song[first : first + length], noise[:length]
    low, high = (default if end is None else end for end, default in zip(ends, band_of(song, rate), strict=True))
    return Scene(name, song, noise, rest, rate, (low, min(high, limit)))


def loudest(song: Audio, length: int) -> int:
    """Return the first sample of the stretch of `length` samples that has the most energy; the first of equal ones."""
    energy = np.concatenate([[0.0], np.cumsum(np.square(song, dtype=np.float64))])
    stretches = energy[length:] - energy[: len(energy) - length]
    return int(np.argmax(stretches >= (1 - 1e-9) * stretches.max()))


def _read(path: Path) -> tuple[Audio, int]:
    """Read the first channel of a recording that is not silent, and its rate in Hz."""
    samples, rate = files.read(path)
    files.require_sound(samples[:, 0], str(path))
    return samples[:, 0], rate


def band_of(song: Audio, rate: int) -> tuple[float, float]:
    """Return the band in Hz that leaves 5 % of the song's energy below and 5 % above."""
    energy = np.cumsum(np.abs(np.fft.rfft(song.astype(np.float64))) ** 2)
    first, last = (int(np.searchsorted(energy, share * energy[-1])) for share in _BAND_ENERGY)
    return first * rate / len(song), last * rate / len(song)


def _rms(signal: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))
