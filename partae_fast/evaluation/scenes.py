"""Scenes to score denoisers on: a clean song, noise to mix with it, and other noise of the same kind.

A denoiser sees the mixture and the noise-only audio, which is of another time than the noise in the mixture; the clean
song only scores.
"""

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

Audio = NDArray[np.float32]

MIXED_SHARE = 0.6  # of a noise recording, from its start, may go into the mixture; the rest is noise-only
_BAND_ENERGY = 0.05, 0.95  # shares of the song's energy that lie below the band's ends, where no band is given

# The recordings beside this project: songs, the band in Hz where each is, and noises, some of them of several files.
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
    """A song in noise. All audio is at `rate` Hz; `song` and `noise` are of one length.

    Raises UserError where the band is empty, and where song, noise or noise-only audio has nothing in it.
    """

    name: str
    song: Audio  # (T,)
    noise: Audio  # (T,)
    noise_only: Audio  # (any length,)
    rate: int
    band: tuple[float, float]  # Hz; where levels are set and scores are taken

    def __post_init__(self) -> None:
        low, high = self.band
        if not 0 <= low < high <= self.rate / 2:
            raise UserError(
                f"{self.name}: the band is {low:g} to {high:g} Hz; it must have some width, within 0 to "
                f"{self.rate / 2:g} Hz and within what was recorded of the noise: give another --low or --high"
            )
        for part in ("song", "noise", "noise_only"):
            if not band(getattr(self, part), self.rate, low, high).any():
                kind = part.replace("_", "-")
                raise UserError(f"{self.name}: nothing sounds in the {kind} audio from {low:g} to {high:g} Hz")

    def mixture(self, level: float, mismatch: float = 0.0) -> tuple[Audio, Audio]:
        """The song in noise, and the noise-only audio that belongs to it.

        The song keeps its level and the noise is scaled, so that mixture minus song is the noise in it.

        Arguments:
            level: of the song over the noise, in the band, in dB.
            mismatch: how much louder the noise-only audio is than the noise in the mixture was recorded, in dB.
        """
        song, noise = (_rms(band(part, self.rate, *self.band)) for part in (self.song, self.noise))
        scale = song / noise / 10 ** (level / 20)
        noise_only = scale * 10 ** (mismatch / 20) * self.noise_only
        return (self.song + scale * self.noise).astype(np.float32), noise_only.astype(np.float32)


def scenes_of(folder: PathLike, low: float | None = None, high: float | None = None) -> list[Scene]:
    """The scenes in a folder of recordings, of which the first channel is taken.

    clean/ and noise/     where both have the same names, pairs; else every file of one with every file of the other
    noise_only/NAME       beside pairs: the noise-only audio of NAME, all of whose noise is then mixed
    birdsong/ and noise/  the recordings beside this project: three songs in each of four noises

    Of a noise recording without noise-only audio of its own the first 60 % are mixed and the rest is noise-only.
    Nothing is looped: noise that is shorter than its song shortens the song. All is at the song's rate.

    Arguments:
        low, high: the band in Hz; by default from where 5 % of the song's energy lie below to where 5 % lie above. It
            ends where noise or song end, at half their rate, at the latest.

    Raises UserError where the folder has no such scenes, and for recordings that cannot be read or make none.
    """
    folder = Path(folder)
    if (folder / "birdsong").is_dir() and (folder / "noise").is_dir():
        return [
            _scene(
                f"{song}, {noise}",
                folder / "birdsong" / f"{song}.flac",
                [folder / "noise" / f"{name}.flac" for name in names],
                None,
                (limits[0] if low is None else low, limits[1] if high is None else high),
            )
            for song, limits in _SHARED_SONGS.items()
            for noise, names in _SHARED_NOISES.items()
        ]
    clean, noises = (_recordings(folder, name) for name in ("clean", "noise"))
    if clean.keys() == noises.keys():
        noise_only = _recordings(folder, "noise_only") if (folder / "noise_only").exists() else {}
        _require_known(folder, noise_only, clean)
        return [_scene(name, clean[name], [noises[name]], noise_only.get(name), (low, high)) for name in clean]
    return [
        _scene(f"{song}, {noise}", clean[song], [noises[noise]], None, (low, high))
        for song in clean
        for noise in noises
    ]


def _recordings(folder: Path, kind: str) -> dict[str, Path]:
    """The files in a folder of the data, by name without suffix."""
    place = folder / kind
    if not place.is_dir():
        raise UserError(f"{folder}: has no folder {kind}; put clean recordings into clean/ and noise into noise/")
    found = {path.stem: path for path in sorted(place.iterdir()) if path.is_file() and path.name[0] != "."}
    if not found:
        raise UserError(f"{place}: has no file; put recordings into it")
    return found


def _require_known(folder: Path, noise_only: dict[str, Path], clean: dict[str, Path]) -> None:
    unknown = sorted(noise_only.keys() - clean.keys())
    if unknown:
        raise UserError(f"{noise_only[unknown[0]]}: {folder / 'clean'} has no file of this name; rename or remove it")


def _scene(
    name: str,
    clean: Path,
    noises: Sequence[Path],
    noise_only: Path | None,
    limits: tuple[float | None, float | None],
) -> Scene:
    """The scene of these files, the noises joined."""
    song, rate = _read(clean)
    parts = [_read(path) for path in noises]
    end = min(rate, *(own for _, own in parts)) / 2
    noise = np.concatenate([resample(samples, own, rate) for samples, own in parts])
    if noise_only is None:
        cut = round(MIXED_SHARE * len(noise))
        noise, rest = noise[:cut], noise[cut:]
    else:
        samples, own = _read(noise_only)
        end, rest = min(end, own / 2), resample(samples, own, rate)
    length = min(len(song), len(noise))
    song, noise = song[:length], noise[:length]
    own_band = band_of(song, rate)
    low, high = (own if limit is None else limit for limit, own in zip(limits, own_band, strict=True))
    return Scene(name, song, noise, rest, rate, (low, min(high, end)))


def _read(path: Path) -> tuple[Audio, int]:
    """The first channel of a recording that has sound in it, and its rate in Hz."""
    samples, rate = files.read(path)
    files.require_sound(samples[:, 0], str(path))
    return samples[:, 0], rate


def band_of(song: Audio, rate: int) -> tuple[float, float]:
    """Between which frequencies in Hz the song is, but for 5 % of its energy on either side."""
    energy = np.cumsum(np.abs(np.fft.rfft(song.astype(np.float64))) ** 2)
    first, last = (int(np.searchsorted(energy, share * energy[-1])) for share in _BAND_ENERGY)
    return first * rate / len(song), last * rate / len(song)


def _rms(signal: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(signal))))
