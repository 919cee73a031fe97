"""Recordings of the experiment: clean voices and noises for training, and other voices and noises for tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...audio import files
from ...audio.folders import recordings_in
from ...audio.resample import resample
from ...audio.spectrogram import Spectrogram
from ...errors import UserError

Audio = NDArray[np.float32]
_T = TypeVar("_T")
_Paths = dict[str, list[Path]]

RATE, SECONDS = 16000, 0.064  # of the paper: rate in Hz, and duration of a window of 1024 samples

TEST_SHARE = 0.3  # of the speakers, at the end
WOMEN, TEST_WOMEN = 10, 5  # of TIMIT in the paper, whose names start with F; spread evenly over all of them
TRAINING_SINGERS = 2  # of MIR-1K in the paper: abjones and amy, the first by name
LONGEST = 3.0  # seconds of each test
_TEST_SPEAKERS = ("nicolas", "p287")  # of the project's test recordings


@dataclass(frozen=True)
class TestPair:
    """A voice and the noise to mix with it, (T,) each, with a root mean square of 1."""

    voice_name: str
    noise_kind: str
    voice: Audio
    noise: Audio

    def mix(self, snr: float) -> tuple[Audio, Audio]:
        """Return the mixture at `snr` dB and the scaled noise in it; the voice keeps its level."""
        noise = (self.noise * 10 ** (-snr / 20)).astype(np.float32)
        return (self.voice + noise).astype(np.float32), noise


@dataclass(frozen=True)
class Recordings:
    """Recordings for training, and pairs of other recordings for tests.

    Attributes:
        rate: of all recordings in Hz.
        voices: clean training recordings.
        noises: training recordings of noise, by kind.
        test_pairs: see `TestPair`.
        description: of the data, one line.
        small: whether there is so little data that small networks suit it.
    """

    rate: int
    voices: list[Audio]
    noises: dict[str, Audio]
    test_pairs: list[TestPair]
    description: str
    small: bool = False

    @property
    def test_kinds(self) -> list[str]:
        """The kinds of noise in the tests."""
        return list(dict.fromkeys(pair.noise_kind for pair in self.test_pairs))

    @property
    def n_fft(self) -> int:
        """Samples in a window: 1024 at 16 kHz, and about the same duration at other rates."""
        return 2 ** round(math.log2(SECONDS * self.rate))

    @property
    def spectrogram(self) -> Spectrogram:
        """All frequencies, with 75 % overlap; analysis and synthesis use the square root of a Hann window."""
        n_fft = self.n_fft
        return Spectrogram(rate=self.rate, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=self.rate / 2, window="sqrt-hann")


def load(folder: files.PathLike, tests: int | None = None) -> Recordings:
    """Read speech and noise from a folder with one of three layouts.

    clean/SPEAKER/ and noise/KIND/        folders of audio files; the last 30 % of the speakers are for tests
    clean/TRAIN/DR1/SPEAKER/ and so on    as in TIMIT: 10 women of TRAIN are for training and 5 of TEST for tests;
                                          TRAIN/ and TEST/ may also be in the folder itself, beside noise/
    speech/ and noise/                    the project's test recordings: digits of three speakers and a sentence of
                                          another for training, digits and sentences of two others for tests; ambient
                                          noises, a cafe and diffuse noise for training; machine, traffic, wind and
                                          crowd for tests

    No speaker and no noise is in both.

    The second half of the noise/KIND/ folders, sorted by name, is for tests. The first channel of each file is read at
    the lowest rate of any voice, at most 16 kHz. The test files of a speaker are concatenated and cut to 3 s; noise
    that is shorter is repeated.

    Args:
        folder: of the recordings.
        tests: the largest number of pairs of a voice and a noise, with as many different ones as there are; None for
            all pairs.

    Raises UserError if folders or files are missing, or if a file cannot be read or is silent.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with clean/SPEAKER/ and noise/KIND/")
    small = (folder / "speech").is_dir() and (folder / "noise").is_dir()
    voice_paths, test_voice_paths = _project_voices(folder / "speech") if small else _voices(folder)
    noise_paths, test_noise_paths = _project_noises(folder / "noise") if small else _noises(folder / "noise")
    rates = (files.info(path).rate for paths in (*voice_paths.values(), *test_voice_paths.values()) for path in paths)
    rate = min(RATE, *rates)
    voices = [_read(path, rate) for paths in voice_paths.values() for path in paths]
    noises = {kind: _concatenate(paths, rate) for kind, paths in noise_paths.items()}
    length = round(LONGEST * rate)
    test_voices = {name: _concatenate(paths, rate)[:length] for name, paths in test_voice_paths.items()}
    test_noises = {kind: _concatenate(paths, rate) for kind, paths in test_noise_paths.items()}
    test_pairs = [
        TestPair(name, kind, _normalise(voice), _normalise(np.resize(noise, len(voice))))
        for kind, name in _pairs(list(test_noises), list(test_voices), tests)
        for voice, noise in [(test_voices[name], test_noises[kind])]
    ]
    description = _description(rate, voices, noises, test_voices, test_noises)
    return Recordings(rate, voices, noises, test_pairs, description, small)


def load_singing(folder: files.PathLike, clips: int | None = None) -> Recordings:
    """Read singing voices and their accompaniment from a folder with the layout of MIR-1K.

    The clips are SINGER_CLIP.wav, in the folder itself or in Wavfile/, with the accompaniment in the left channel and
    the voice in the right. All clips of the first two singers are for training, and the first 3 s of each clip of the
    others for tests, 825 clips of MIR-1K.

    Args:
        folder: of the clips.
        clips: the largest number of tests, spread evenly over the clips; None for all.

    Raises UserError if there are fewer than three singers, or if a clip does not have two channels.
    """
    folder = Path(folder)
    folder = folder / "Wavfile" if (folder / "Wavfile").is_dir() else folder
    singers: _Paths = {}
    for path in sorted(folder.glob("*.wav")):
        singers.setdefault(path.stem.partition("_")[0], []).append(path)
    if len(singers) <= TRAINING_SINGERS:
        raise UserError(
            f"{folder}: has clips SINGER_CLIP.wav of {len(singers)} singers; give {TRAINING_SINGERS + 1} or more, "
            f"because {TRAINING_SINGERS} are for training and the others for tests"
        )
    names = list(singers)
    training = {name: [_read_clip(path) for path in singers[name]] for name in names[:TRAINING_SINGERS]}
    rate = min(RATE, *(clip_rate for of_singer in training.values() for _, clip_rate in of_singer))
    voices, noises = [], {}
    for name, of_singer in training.items():
        resampled = [resample(samples, clip_rate, rate) for samples, clip_rate in of_singer]
        voices += [_normalise(samples[:, 1]) for samples in resampled]
        noises[name] = np.concatenate([_normalise(samples[:, 0]) for samples in resampled])
    test = {path.stem: path for name in names[TRAINING_SINGERS:] for path in singers[name]}
    test_pairs = []
    for name, path in _spread(test, len(test) if clips is None else clips).items():
        samples, clip_rate = _read_clip(path)
        music, voice = resample(samples, clip_rate, rate)[: round(LONGEST * rate)].T
        test_pairs.append(TestPair(name, "music", _normalise(voice), _normalise(music)))
    test_voices = {pair.voice_name: pair.voice for pair in test_pairs}
    test_noises = {"their accompaniment": test_pairs[0].noise}
    description = _description(rate, voices, noises, test_voices, test_noises)
    return Recordings(rate, voices, noises, test_pairs, description)


def _voices(folder: Path) -> tuple[_Paths, _Paths]:
    """Return the training files and the test files of each speaker."""
    clean = folder / "clean" if (folder / "clean").is_dir() else folder
    subfolders = {path.name.upper(): path for path in clean.iterdir() if path.is_dir()}
    if {"TRAIN", "TEST"} <= set(subfolders):
        return _women(subfolders["TRAIN"], WOMEN), _women(subfolders["TEST"], TEST_WOMEN)
    if clean == folder:
        raise UserError(f"{folder}: has neither clean/ nor TRAIN/ and TEST/; give clean/SPEAKER/ and noise/KIND/")
    speakers = _files_by_folder(clean, "*")
    if len(speakers) < 2:
        raise UserError(f"{clean}: has only one speaker; give two or more, because tests need other speakers")
    training, test = _split(list(speakers))
    return {name: speakers[name] for name in training}, {name: speakers[name] for name in test}


def _women(folder: Path, count: int) -> _Paths:
    """Return the files of women in a folder of TIMIT, by name: DR1/FCJF0 and so on."""
    women = {name: paths for name, paths in _files_by_folder(folder, "*/*").items() if name.upper().startswith("F")}
    if not women:
        raise UserError(f"{folder}: has no speaker whose name starts with F; the experiment uses the women of TIMIT")
    return _spread(women, count)


def _noises(folder: Path) -> tuple[_Paths, _Paths]:
    """Return the training files and the test files of noise, by kind."""
    kinds = _files_by_folder(folder, "*")
    if len(kinds) < 2:
        raise UserError(f"{folder}: has only one kind of noise; give two or more, because tests need other kinds")
    names = list(kinds)
    half = len(names) - len(names) // 2
    return {name: kinds[name] for name in names[:half]}, {name: kinds[name] for name in names[half:]}


def _files_by_folder(folder: Path, pattern: str) -> _Paths:
    """Return the audio files in each subfolder that matches the pattern, by the subfolder's name."""
    subfolders = sorted(path for path in folder.glob(pattern) if path.is_dir())
    paths = {path.name: [Path(file) for file in recordings_in(path)] for path in subfolders}
    if not paths:
        raise UserError(f"{folder}: has no folders of audio files; make one for each speaker or kind of noise")
    return paths


def _project_voices(folder: Path) -> tuple[_Paths, _Paths]:
    """Return digits by speaker and a sentence of LJ Speech for training, and digits of one and sentences of p287."""
    digits = sorted(folder.glob("digit_*.flac"))
    names = list(dict.fromkeys(path.stem.split("_")[2] for path in digits))
    speakers = {name: [path for path in digits if path.stem.endswith(f"_{name}")] for name in names}
    speakers["p287"] = sorted(folder.glob("p287_*_clean.flac"))
    speakers["lj050"] = sorted(folder.glob("lj050_*.flac"))
    if not all(speakers.values()):
        raise UserError(f"{folder}: lacks digits, p287 or lj050 of the project's test recordings; add them")
    test = {name: speakers.pop(name, []) for name in _TEST_SPEAKERS}
    return speakers, {name: paths for name, paths in test.items() if paths}


def _project_noises(folder: Path) -> tuple[_Paths, _Paths]:
    def files_of(*kinds: str) -> _Paths:
        paths = {kind: sorted(folder.glob(f"{kind}*.flac")) for kind in kinds}
        missing = [kind for kind in kinds if not paths[kind]]
        if missing:
            raise UserError(f"{folder}: lacks {missing[0]} of the project's test recordings; add it")
        return paths

    return files_of("ambient", "cafe", "diffuse"), files_of("machine", "traffic", "wind", "crowd")


def _split(items: list[_T]) -> tuple[list[_T], list[_T]]:
    """Return items for training, and the last 30 %, at least one, for tests; a single item is for training."""
    count = min(max(1, round(TEST_SHARE * len(items))), len(items) - 1)
    return items[: len(items) - count], items[len(items) - count :]


def _pairs(kinds: list[str], voices: list[str], count: int | None) -> list[tuple[str, str]]:
    """Return pairs of a kind of noise and a voice: all, or those that use every kind and voice about equally often."""
    places = [(k, v) for k in range(len(kinds)) for v in range(len(voices))]
    if count is not None:
        places = sorted(places, key=lambda place: (place[1] - place[0]) % len(voices))[:count]
    return [(kinds[k], voices[v]) for k, v in sorted(places)]


def _spread(items: dict[str, _T], count: int) -> dict[str, _T]:
    """Return at most `count` of the items, spread evenly."""
    names = list(items)
    chosen = names if len(names) <= count else [names[i * len(names) // count] for i in range(count)]
    return {name: items[name] for name in chosen}


def _concatenate(paths: Sequence[Path], rate: int) -> Audio:
    return np.concatenate([_read(path, rate) for path in paths])


def _read(path: Path, rate: int) -> Audio:
    """Read the first channel of a file, with a root mean square of 1."""
    samples, file_rate = files.read(path)
    channel = samples[:, 0]
    if not channel.any():
        raise UserError(f"{path}: is silent; remove it")
    return _normalise(resample(channel, file_rate, rate))


def _read_clip(path: Path) -> tuple[Audio, int]:
    """Read a clip of two channels and its rate."""
    samples, rate = files.read(path)
    if samples.shape[1] != 2 or not samples.any(axis=0).all():
        raise UserError(f"{path}: must have two channels that are not silent, accompaniment left and voice right")
    return samples, rate


def _normalise(audio: Audio) -> Audio:
    """Scale audio to a root mean square of 1."""
    return (audio / np.sqrt(np.mean(np.square(audio, dtype=np.float64)))).astype(np.float32)


def _description(
    rate: int,
    voices: Sequence[Audio],
    noises: dict[str, Audio],
    test_voices: dict[str, Audio],
    test_noises: dict[str, Audio],
) -> str:
    def listed(sounds: dict[str, Audio]) -> str:
        return ", ".join(f"{name} {len(sound) / rate:.1f} s" for name, sound in sounds.items())

    return (
        f"Training: {sum(map(len, voices)) / rate:.0f} s of clean voices, {listed(noises)}. Tests: "
        f"{listed(test_voices)}, in {listed(test_noises)}. The rate is {rate} Hz; all recordings have the same root "
        "mean square."
    )
