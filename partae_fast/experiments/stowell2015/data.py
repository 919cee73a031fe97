"""What the experiment hears: songs and noises as magnitudes, cut in time, and mixed at set ratios."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...audio import files
from ...audio.resample import resample
from ...audio.spectrogram import Spectrogram
from ...errors import UserError
from ...systems.stowell2015 import Settings

SETTINGS = Settings()

# Seconds each of signal, intrinsic and extrinsic noise, where there are as many (section 4); a third as much validates.
TRAINING_SECONDS = 30.0
VALIDATION_SHARE = 0.25  # of what there is of each, its end

# Two crops end to end, so that the crops of a validation part are not all but one.
_LEAST_CROPS, _LEAST_POOLS = 2, 8

_AUDIO = {*files.FORMATS, ".ogg", ".mp3"}


@dataclass(frozen=True)
class Part:
    """Magnitudes (frames, bins) of each recording: those to train on and, from other times, those to validate on."""

    training: list[NDArray[np.float32]]
    validation: list[NDArray[np.float32]]

    def scaled(self, gain: float) -> "Part":
        """All magnitudes times `gain`."""
        return Part(*([m * np.float32(gain) for m in half] for half in (self.training, self.validation)))

    def rms(self) -> float:
        """Root mean square of all magnitudes."""
        return _rms([*self.training, *self.validation])


@dataclass(frozen=True)
class Noise:
    """A noise source: what is mixed into what one has (intrinsic) and, from another time, what one adds to it."""

    name: str
    intrinsic: Part
    extrinsic: Part


@dataclass(frozen=True)
class Recordings:
    """All material: songs, each at an RMS of 1 in the band, and two or more noises at their own levels."""

    spectrogram: Spectrogram
    songs: Part
    noises: list[Noise]


@dataclass(frozen=True)
class Mixture:
    """What the items of some models are mixed of, scaled; `intrinsic` and `extrinsic` name the noises."""

    intrinsic: str
    extrinsic: str
    parts: tuple[Part, Part, Part]  # songs, intrinsic noise, extrinsic noise

    @property
    def condition(self) -> str:
        """`matched` where both noises are of one recording, `unmatched` where they are not."""
        return "matched" if self.intrinsic == self.extrinsic else "unmatched"

    def about(self) -> dict[str, str]:
        """What tables say of it."""
        return {"condition": self.condition, "intrinsic": self.intrinsic, "extrinsic": self.extrinsic}


def load(folder: files.PathLike) -> Recordings:
    """Read the recordings of a folder, laid out in one of two ways.

    signal/ and two or more noise_NAME/     folders of audio files; files are taken in the order of their names
    birdsong/ and noise/                    the project's test recordings: chiffchaff and finches; crowd, ambient_5
                                            and diffuse

    The first channel of each file, at the preset's rate and in its band. Of the songs 40 s are used, of a noise 80 s,
    or what there is; each song's last quarter validates. A noise's files are joined; its first half is intrinsic, its
    second half extrinsic, the last quarter of each validates. No two cuts share a sample.

    Raises UserError where folders or files are missing, or a file cannot be read or ends below the band's upper end.

    Stowell & Turner 2015, section 4.
    """
    songs, noises = _files(Path(folder))
    spectrogram = Spectrogram(**asdict(SETTINGS.usual))
    apart = spectrogram.n_fft // spectrogram.hop - 1  # frames to leave out, so that none of the rest share a sample
    most = round(TRAINING_SECONDS / (1 - VALIDATION_SHARE) * spectrogram.frame_rate)
    return Recordings(
        spectrogram,
        _part([song / np.float32(_rms([song])) for song in _first(songs, spectrogram, most)], apart),
        [_noise(name, paths, spectrogram, most, apart) for name, paths in noises.items()],
    )


def mixtures(recordings: Recordings, snr_intrinsic: float, snr_extrinsic: float) -> list[Mixture]:
    """Songs mixed with each noise, matched, and unmatched: the intrinsic noise of one with the extrinsic of the next.

    Args:
        snr_intrinsic, snr_extrinsic: in dB, songs against that noise, by mean squares of magnitudes in the band.

    Items are sums of magnitudes, as `CropSampler` makes them. All of a mixture is scaled so that an item has the
    preset's RMS: the penalty's weight depends on it, and the paper gives no level.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    found = []
    for shift in (0, 1):
        for index, noise in enumerate(recordings.noises):
            other = recordings.noises[(index + shift) % len(recordings.noises)]
            parts = (
                recordings.songs,
                noise.intrinsic.scaled(10 ** (-snr_intrinsic / 20) / noise.intrinsic.rms()),
                other.extrinsic.scaled(10 ** (-snr_extrinsic / 20) / other.extrinsic.rms()),
            )
            gain = SETTINGS.level / _mixed_rms(parts)
            songs, intrinsic, extrinsic = (part.scaled(gain) for part in parts)
            found.append(Mixture(noise.name, other.name, (songs, intrinsic, extrinsic)))
    return found


def crop_frames(recordings: Recordings, wanted: int | None = None) -> int:
    """Frames in a crop: as wanted, else the paper's 512, halved until two crops fit end to end into every part.

    Raises UserError where a part is too short for a crop of 8 pools, or for what is wanted.
    """
    parts = {"signal": recordings.songs}
    for noise in recordings.noises:
        parts |= {f"intrinsic {noise.name}": noise.intrinsic, f"extrinsic {noise.name}": noise.extrinsic}
    longest = {name: max(map(len, part.validation), default=0) for name, part in parts.items()}
    name, frames = min(longest.items(), key=lambda item: item[1])
    least, rate = _LEAST_POOLS * SETTINGS.pool, recordings.spectrogram.frame_rate
    chosen = wanted or SETTINGS.frames
    while not wanted and chosen > least and frames < _LEAST_CROPS * chosen:
        chosen //= 2
    if frames < chosen:
        raise UserError(
            f"{name}: a quarter is kept to validate on and lasts {frames} frames ({frames / rate:.2f} s); a crop has "
            f"{chosen} ({chosen / rate:.2f} s): give longer recordings" + (" or fewer frames" if wanted else "")
        )
    return chosen


def _files(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """The songs and, by name, the noises."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with signal/ and two or more noise_NAME/")
    birdsong, noise = folder / "birdsong", folder / "noise"
    if birdsong.is_dir() and noise.is_dir():
        return [*_audio(birdsong, "chiffchaff*"), *_audio(birdsong, "bengalese_finch_*")], {
            name: _audio(noise, f"{name}*") for name in ("crowd", "ambient_5", "diffuse")
        }
    noises = {path.name.removeprefix("noise_"): path for path in sorted(folder.glob("noise_*")) if path.is_dir()}
    if not (folder / "signal").is_dir() or len(noises) < 2:
        raise UserError(
            f"{folder}: has {'' if (folder / 'signal').is_dir() else 'no '}signal/ and {len(noises)} noise_NAME/; give "
            "one of the first and two or more of the second, for unmatched noise is of two sources"
        )
    return _audio(folder / "signal"), {name: _audio(path) for name, path in noises.items()}


def _audio(folder: Path, pattern: str = "*") -> list[Path]:
    found = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in _AUDIO)
    if not found:
        raise UserError(f"{folder}: no audio file {pattern}; put recordings there, such as WAV or FLAC")
    return found


def _first(paths: Iterable[Path], spectrogram: Spectrogram, most: int) -> list[NDArray[np.float32]]:
    """Magnitudes of each file's first channel, up to `most` frames in all; files after that are not read."""
    found: list[NDArray[np.float32]] = []
    for path in paths:
        left = most - sum(map(len, found))
        if left <= 0:
            break
        rate = files.info(path).rate
        if rate < 2 * spectrogram.high:
            raise UserError(
                f"{path}: sampled at {rate} Hz, and the band ends at {spectrogram.high:g} Hz; give recordings at "
                f"{2 * spectrogram.high:g} Hz or more"
            )
        samples, _ = files.read(path)
        magnitudes = spectrogram.magnitude(resample(samples[:, 0], rate, spectrogram.rate))[:left]
        if not magnitudes.any():
            raise UserError(f"{path}: nothing sounds in the band; leave it out")
        found.append(magnitudes)
    return found


def _noise(name: str, paths: Iterable[Path], spectrogram: Spectrogram, most: int, apart: int) -> Noise:
    # Magnitudes are joined, not samples: a join of samples clicks.
    first, second = _cut(np.concatenate(_first(paths, spectrogram, 2 * most)), 0.5, apart)
    return Noise(name, _part([first], apart), _part([second], apart))


def _part(recordings: Sequence[NDArray[np.float32]], apart: int) -> Part:
    """Each recording's end to validate on, the rest to train on."""
    halves = [_cut(recording, 1 - VALIDATION_SHARE, apart) for recording in recordings]
    return Part([first for first, _ in halves], [second for _, second in halves])


def _cut(magnitudes: NDArray[np.float32], share: float, apart: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The first `share` of the frames and the rest, less `apart` frames between them."""
    at = round(share * len(magnitudes))
    return magnitudes[:at], magnitudes[at + apart :]


def _rms(recordings: Sequence[NDArray[np.float32]]) -> float:
    squares = sum(float(np.square(m, dtype=np.float64).sum()) for m in recordings)
    return math.sqrt(squares / sum(m.size for m in recordings))


def _mixed_rms(parts: Iterable[Part]) -> float:
    """Of the sum of independent crops, one of each part that trains: means add, and so do variances."""
    joined = [np.concatenate(part.training).astype(np.float64) for part in parts]
    mean, variance = (np.sum(moments, axis=0) for moments in zip(*((m.mean(0), m.var(0)) for m in joined), strict=True))
    return math.sqrt(float(np.mean(mean**2 + variance)))
