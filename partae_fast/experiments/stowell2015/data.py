"""Recordings of the experiment: songs and noises as magnitudes, split in time, and mixed at given ratios."""

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

# The most seconds of songs, of intrinsic and of extrinsic noise for training (section 4).
TRAINING_SECONDS = 30.0
VALIDATION_SHARE = 0.25  # of each recording, at its end

# A validation split has room for two crops end to end, so that its crops differ; a crop has at least eight pools.
_MIN_CROPS, _MIN_POOLS = 2, 8

_AUDIO = {*files.FORMATS, ".ogg", ".mp3"}


@dataclass(frozen=True)
class Split:
    """Magnitudes (frames, bins) of recordings, for training and, from other times, for validation."""

    training: list[NDArray[np.float32]]
    validation: list[NDArray[np.float32]]

    def scaled(self, gain: float) -> "Split":
        """Return the split with all magnitudes multiplied by `gain`."""
        return Split(*([m * np.float32(gain) for m in half] for half in (self.training, self.validation)))

    def rms(self) -> float:
        """Return the root mean square of all magnitudes."""
        return _rms([*self.training, *self.validation])


@dataclass(frozen=True)
class Noise:
    """A noise source: the noise in the recordings (intrinsic) and, from another time, added noise (extrinsic)."""

    name: str
    intrinsic: Split
    extrinsic: Split


@dataclass(frozen=True)
class Recordings:
    """Songs, each with an RMS of 1 in the band, and two or more noises at their original levels."""

    spectrogram: Spectrogram
    songs: Split
    noises: list[Noise]


@dataclass(frozen=True)
class Mixture:
    """Scaled songs, intrinsic and extrinsic noise that make the items of a model; two fields name the noises."""

    intrinsic: str
    extrinsic: str
    splits: tuple[Split, Split, Split]  # songs, intrinsic noise, extrinsic noise

    @property
    def condition(self) -> str:
        """Either "matched" (both noises come from the same source) or "unmatched"."""
        return "matched" if self.intrinsic == self.extrinsic else "unmatched"

    def columns(self) -> dict[str, str]:
        """Return the mixture's columns in tables."""
        return {"condition": self.condition, "intrinsic": self.intrinsic, "extrinsic": self.extrinsic}


def load(folder: files.PathLike) -> Recordings:
    """Read the recordings of a folder with one of two layouts.

    signal/ and two or more noise_NAME/     folders of audio files, read in the order of their names
    birdsong/ and noise/                    the project's test recordings: chiffchaff and finches; crowd, ambient_5
                                            and diffuse

    The first channel of each file is resampled to the preset's rate. At most 40 s of songs and 80 s of each noise are
    read. The last quarter of each song is for validation. The files of a noise are concatenated; the first half is
    intrinsic, the second half extrinsic, and the last quarter of each half is for validation. No two splits share a
    sample.

    Raises UserError if folders or files are missing, or if a file cannot be read, is silent in the band, or has a rate
    too low for the band.

    Stowell & Turner 2015, section 4.
    """
    songs, noises = _files(Path(folder))
    spectrogram = Spectrogram(**asdict(SETTINGS.usual))
    gap = spectrogram.n_fft // spectrogram.hop - 1  # frames to skip between two splits, so that they share no sample
    limit = round(TRAINING_SECONDS / (1 - VALIDATION_SHARE) * spectrogram.frame_rate)
    return Recordings(
        spectrogram,
        _split([song / np.float32(_rms([song])) for song in _magnitudes(songs, spectrogram, limit)], gap),
        [_noise(name, paths, spectrogram, limit, gap) for name, paths in noises.items()],
    )


def mixtures(recordings: Recordings, snr_intrinsic: float, snr_extrinsic: float) -> list[Mixture]:
    """Mix the songs with each noise: first matched, then the intrinsic noise of one with the extrinsic of the next.

    Items are sums of magnitudes; see `CropSampler`. Each mixture is scaled so that its items have the preset's RMS,
    because the effect of the penalty depends on the level, which the paper does not give.

    Args:
        recordings: see `load`.
        snr_intrinsic, snr_extrinsic: of the songs to each noise in dB, by mean squares of magnitudes in the band.

    Stowell & Turner 2015, section 4 and figure 6.
    """
    mixed = []
    for shift in (0, 1):
        for index, noise in enumerate(recordings.noises):
            other = recordings.noises[(index + shift) % len(recordings.noises)]
            splits = (
                recordings.songs,
                noise.intrinsic.scaled(10 ** (-snr_intrinsic / 20) / noise.intrinsic.rms()),
                other.extrinsic.scaled(10 ** (-snr_extrinsic / 20) / other.extrinsic.rms()),
            )
            gain = SETTINGS.level / _mixed_rms(splits)
            songs, intrinsic, extrinsic = (split.scaled(gain) for split in splits)
            mixed.append(Mixture(noise.name, other.name, (songs, intrinsic, extrinsic)))
    return mixed


def crop_frames(recordings: Recordings, frames: int | None = None) -> int:
    """Return the frames of a crop: `frames`, or the paper's 512, halved until two crops fit into each validation split.

    Raises UserError if a validation split is too short for a crop of `frames`, or of 8 pools if `frames` is None.
    """
    splits = {"signal": recordings.songs}
    for noise in recordings.noises:
        splits |= {f"intrinsic {noise.name}": noise.intrinsic, f"extrinsic {noise.name}": noise.extrinsic}
    longest = {name: max(map(len, split.validation), default=0) for name, split in splits.items()}
    name, available = min(longest.items(), key=lambda item: item[1])
    shortest, rate = _MIN_POOLS * SETTINGS.pool, recordings.spectrogram.frame_rate
    crop = frames or SETTINGS.frames
    while not frames and crop > shortest and available < _MIN_CROPS * crop:
        crop //= 2
    if available < crop:
        raise UserError(
            f"{name}: the quarter for validation lasts {available} frames ({available / rate:.2f} s), and a crop has "
            f"{crop} ({crop / rate:.2f} s): give longer recordings" + (" or fewer frames" if frames else "")
        )
    return crop


def _files(folder: Path) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return the files of the songs and, by name, of the noises."""
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
            "signal/ and two or more noise_NAME/, because unmatched noise needs two sources"
        )
    return _audio(folder / "signal"), {name: _audio(path) for name, path in noises.items()}


def _audio(folder: Path, pattern: str = "*") -> list[Path]:
    paths = sorted(path for path in folder.glob(pattern) if path.suffix.lower() in _AUDIO)
    if not paths:
        raise UserError(f"{folder}: no audio file {pattern}; put recordings there, such as WAV or FLAC")
    return paths


def _magnitudes(paths: Iterable[Path], spectrogram: Spectrogram, limit: int) -> list[NDArray[np.float32]]:
    """Return magnitudes of each file's first channel, at most `limit` frames in total; further files are not read."""
    recordings: list[NDArray[np.float32]] = []
    for path in paths:
        remaining = limit - sum(map(len, recordings))
        if remaining <= 0:
            break
        rate = files.info(path).rate
        if rate < 2 * spectrogram.high:
            raise UserError(
                f"{path}: the rate is {rate} Hz, and the band ends at {spectrogram.high:g} Hz; give recordings at "
                f"{2 * spectrogram.high:g} Hz or more"
            )
        samples, _ = files.read(path)
        magnitudes = spectrogram.magnitude(resample(samples[:, 0], rate, spectrogram.rate))[:remaining]
        if not magnitudes.any():
            raise UserError(f"{path}: silent in the band; remove it")
        recordings.append(magnitudes)
    return recordings


def _noise(name: str, paths: Iterable[Path], spectrogram: Spectrogram, limit: int, gap: int) -> Noise:
    # Magnitudes are concatenated rather than samples: a discontinuity between samples would be a click.
    first, second = _cut(np.concatenate(_magnitudes(paths, spectrogram, 2 * limit)), 0.5, gap)
    return Noise(name, _split([first], gap), _split([second], gap))


def _split(recordings: Sequence[NDArray[np.float32]], gap: int) -> Split:
    """Split each recording into a beginning for training and an end for validation."""
    halves = [_cut(recording, 1 - VALIDATION_SHARE, gap) for recording in recordings]
    return Split([first for first, _ in halves], [second for _, second in halves])


def _cut(magnitudes: NDArray[np.float32], share: float, gap: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the first `share` of the frames, and the frames after a gap of `gap` frames."""
    end = round(share * len(magnitudes))
    return magnitudes[:end], magnitudes[end + gap :]


def _rms(recordings: Sequence[NDArray[np.float32]]) -> float:
    squares = sum(float(np.square(m, dtype=np.float64).sum()) for m in recordings)
    return math.sqrt(squares / sum(m.size for m in recordings))


def _mixed_rms(splits: Iterable[Split]) -> float:
    """Return the RMS of a sum of independent training crops, one from each split: means and variances add."""
    joined = [np.concatenate(split.training).astype(np.float64) for split in splits]
    mean, variance = (np.sum(moments, axis=0) for moments in zip(*((m.mean(0), m.var(0)) for m in joined), strict=True))
    return math.sqrt(float(np.mean(mean**2 + variance)))
