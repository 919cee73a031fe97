"""What the experiment hears: clean voices and noises to learn from, and others of both to be tested on."""

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

RATE, SECONDS = 16000, 0.064  # the paper's rate in Hz and, of 1024 samples, window

# Of each speaker's recordings, or of the speakers where these are held apart: those to be tested on, at the end.
TEST_SHARE = 0.3
# What is used of larger collections: speakers to learn from and to be tested on, evenly spread, and seconds of one.
TRAINING_VOICES, TEST_VOICES, LONGEST = 20, 10, 3.0


@dataclass(frozen=True)
class Test:
    """A voice and the noise that it is mixed with, both (T,) at a root mean square of 1."""

    voice_name: str
    kind: str
    voice: Audio
    noise: Audio

    def mixed(self, snr: float) -> tuple[Audio, Audio]:
        """The mixture at `snr` dB, and the noise in it; the voice stays as it is."""
        noise = (self.noise * 10 ** (-snr / 20)).astype(np.float32)
        return (self.voice + noise).astype(np.float32), noise


@dataclass(frozen=True)
class Material:
    """Recordings at `rate`: clean ones and, by kind, noises to learn from; and what is tested, which is not among them.

    about: a line that says what it is. small: whether it is so little that small networks suit it.
    """

    rate: int
    clean: list[Audio]
    noise: dict[str, Audio]
    tests: list[Test]
    about: str
    small: bool = False

    @property
    def kinds(self) -> list[str]:
        """Of noise that is tested."""
        return list(dict.fromkeys(test.kind for test in self.tests))

    @property
    def n_fft(self) -> int:
        """Samples in a window: 1024 at 16 kHz, as long in time at other rates."""
        return 2 ** round(math.log2(SECONDS * self.rate))

    @property
    def spectrogram(self) -> Spectrogram:
        """All frequencies, with 75 % overlap and the root of a Hann window both ways."""
        n_fft = self.n_fft
        return Spectrogram(rate=self.rate, n_fft=n_fft, hop=n_fft // 4, low=0.0, high=self.rate / 2, window="sqrt-hann")


def load(folder: files.PathLike) -> Material:
    """Speech and noise from a folder laid out in one of three ways.

    clean/SPEAKER/ and noise/KIND/        folders of audio files. Of each speaker's files the last 30 % are tested
    clean/TRAIN/DR1/SPEAKER/ and so on    as TIMIT is: 20 speakers of TRAIN are learned from, 10 of TEST tested; clean/
                                          may be left out, with TRAIN/ and TEST/ beside noise/
    speech/ and noise/                    the project's test recordings: digits of four speakers and sentences of two;
                                          ambient noises, a cafe and diffuse noise to learn from, machine, traffic,
                                          wind and crowd to be tested on

    The last half of the noise/KIND/ folders, in the order of their names, is tested, and no other. First channels, at
    the lowest rate of any voice, at most 16 kHz. What is tested of a speaker is joined, 3 s at most, and a shorter
    noise goes on from its beginning.

    Raises UserError where folders or files are missing, or a file cannot be read or is silent.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; give one with clean/SPEAKER/ and noise/KIND/")
    small = (folder / "speech").is_dir() and (folder / "noise").is_dir()
    learned, tested = _project_voices(folder / "speech") if small else _voices(folder)
    of_training, of_test = _project_noises(folder / "noise") if small else _noises(folder / "noise")
    rate = min(RATE, *(files.info(path).rate for paths in (*learned.values(), *tested.values()) for path in paths))
    clean = [_read(path, rate) for paths in learned.values() for path in paths]
    noise = {kind: _joined(paths, rate) for kind, paths in of_training.items()}
    voices = {name: _joined(paths, rate)[: round(LONGEST * rate)] for name, paths in tested.items()}
    noises = {kind: _joined(paths, rate) for kind, paths in of_test.items()}
    tests = [
        Test(name, kind, _level(voice), _level(np.resize(sound, len(voice))))
        for kind, sound in noises.items()
        for name, voice in voices.items()
    ]
    return Material(rate, clean, noise, tests, _about(rate, clean, noise, voices, noises), small)


def load_singing(folder: files.PathLike) -> Material:
    """Singing voices and their accompaniment from a folder laid out as MIR-1K is.

    SINGER_CLIP.wav, in the folder itself or in Wavfile/, of two channels: the accompaniment left, the voice right. The
    last 30 % of the singers are tested, on the first clip of each, 3 s at most; all clips of the others are learned
    from.

    Raises UserError where there are not two singers or a clip has not two channels.
    """
    folder = Path(folder)
    place = folder / "Wavfile" if (folder / "Wavfile").is_dir() else folder
    singers: dict[str, list[Path]] = {}
    for path in sorted(place.glob("*.wav")):
        singers.setdefault(path.stem.partition("_")[0], []).append(path)
    if len(singers) < 2:
        raise UserError(f"{place}: has clips SINGER_CLIP.wav of {len(singers)} singers; give two or more singers")
    learned, tested = _apart(list(singers))
    every = {name: [_two_channels(path) for path in singers[name]] for name in learned}
    rate = min(RATE, *(rate for clips in every.values() for _, rate in clips))
    clean, noise = [], {}
    for name, clips in every.items():
        parts = [resample(samples, own, rate) for samples, own in clips]
        clean += [_level(part[:, 1]) for part in parts]
        noise[name] = np.concatenate([_level(part[:, 0]) for part in parts])
    tests = []
    for name in tested:
        samples, own = _two_channels(singers[name][0])
        music, voice = resample(samples, own, rate)[: round(LONGEST * rate)].T
        tests.append(Test(name, "music", _level(voice), _level(music)))
    voices = {test.voice_name: test.voice for test in tests}
    return Material(
        rate, clean, noise, tests, _about(rate, clean, noise, voices, {"their accompaniment": tests[0].noise})
    )


def _voices(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """By speaker, the files to learn from and those to be tested on."""
    clean = folder / "clean" if (folder / "clean").is_dir() else folder
    parts = {path.name.upper(): path for path in clean.iterdir() if path.is_dir()}
    if {"TRAIN", "TEST"} <= set(parts):
        return (
            _evenly(_speakers(parts["TRAIN"], "*/*"), TRAINING_VOICES),
            _evenly(_speakers(parts["TEST"], "*/*"), TEST_VOICES),
        )
    if clean == folder:
        raise UserError(f"{folder}: has neither clean/ nor TRAIN/ and TEST/; give clean/SPEAKER/ and noise/KIND/")
    speakers = _speakers(clean, "*")
    divided = {name: _apart(paths) for name, paths in speakers.items()}
    tested = {name: ends for name, (_, ends) in divided.items() if ends}
    if not tested:
        raise UserError(
            f"{clean}: every speaker has one file alone; give two or more, for some are kept to be tested on"
        )
    return {name: begins for name, (begins, _) in divided.items()}, tested


def _speakers(folder: Path, pattern: str) -> dict[str, list[Path]]:
    """The audio files of each folder that the pattern leads to, by its name."""
    return _of_folders(sorted(path for path in folder.glob(pattern) if path.is_dir()), folder)


def _of_folders(folders: Sequence[Path], above: Path) -> dict[str, list[Path]]:
    found = {path.name: [Path(file) for file in recordings_in(path)] for path in folders}
    if not found:
        raise UserError(f"{above}: has no folders of audio files; put each speaker's or each kind's into one")
    return found


def _noises(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    kinds = _of_folders(sorted(path for path in folder.glob("*") if path.is_dir()), folder)
    if len(kinds) < 2:
        raise UserError(
            f"{folder}: has one kind of noise alone; give two or more, for what is tested must not be learned"
        )
    names = list(kinds)
    half = len(names) - len(names) // 2
    return {name: kinds[name] for name in names[:half]}, {name: kinds[name] for name in names[half:]}


def _project_voices(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Digits by their speakers, the sentences of p287, and one of LJ Speech, which is learned from."""
    digits = sorted(folder.glob("digit_*.flac"))
    names = list(dict.fromkeys(path.stem.split("_")[2] for path in digits))
    speakers = {name: [path for path in digits if path.stem.endswith(f"_{name}")] for name in names}
    speakers["p287"] = sorted(folder.glob("p287_*_clean.flac"))
    speakers["lj050"] = sorted(folder.glob("lj050_*.flac"))
    if not all(speakers.values()):
        raise UserError(f"{folder}: lacks the digits, p287 or lj050 of the project's test recordings")
    divided = {name: _apart(paths) for name, paths in speakers.items()}
    return {name: begins for name, (begins, _) in divided.items()}, {
        name: ends for name, (_, ends) in divided.items() if ends
    }


def _project_noises(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    def found(*kinds: str) -> dict[str, list[Path]]:
        paths = {kind: sorted(folder.glob(f"{kind}*.flac")) for kind in kinds}
        missing = [kind for kind in kinds if not paths[kind]]
        if missing:
            raise UserError(f"{folder}: lacks {missing[0]} of the project's test recordings")
        return paths

    return found("ambient", "cafe", "diffuse"), found("machine", "traffic", "wind", "crowd")


def _apart(items: list[_T]) -> tuple[list[_T], list[_T]]:
    """Those to learn from and those to be tested on, at the end: 30 %, one at least; none of one alone."""
    tested = min(max(1, round(TEST_SHARE * len(items))), len(items) - 1)
    return items[: len(items) - tested], items[len(items) - tested :]


def _evenly(items: dict[str, _T], count: int) -> dict[str, _T]:
    """At most `count` of the items, spread over all."""
    names = list(items)
    chosen = names if len(names) <= count else [names[i * len(names) // count] for i in range(count)]
    return {name: items[name] for name in chosen}


def _joined(paths: Sequence[Path], rate: int) -> Audio:
    return np.concatenate([_read(path, rate) for path in paths])


def _read(path: Path, rate: int) -> Audio:
    """A file's first channel, at a root mean square of 1."""
    samples, own = files.read(path)
    channel = samples[:, 0]
    if not channel.any():
        raise UserError(f"{path}: is silent; leave it out")
    return _level(resample(channel, own, rate))


def _two_channels(path: Path) -> tuple[Audio, int]:
    samples, rate = files.read(path)
    if samples.shape[1] != 2 or not samples.any(axis=0).all():
        raise UserError(f"{path}: must have two channels that sound, the accompaniment left and the voice right")
    return samples, rate


def _level(audio: Audio) -> Audio:
    return (audio / np.sqrt(np.mean(np.square(audio, dtype=np.float64)))).astype(np.float32)


def _about(
    rate: int, clean: Sequence[Audio], noise: dict[str, Audio], voices: dict[str, Audio], noises: dict[str, Audio]
) -> str:
    def listed(sounds: dict[str, Audio]) -> str:
        return ", ".join(f"{name} {len(sound) / rate:.1f} s" for name, sound in sounds.items())

    return (
        f"To learn from: {sum(map(len, clean)) / rate:.0f} s of clean voices, {listed(noise)}. Tested, and never "
        f"learned from: {listed(voices)}, in {listed(noises)}. At {rate} Hz; every recording at one root mean square."
    )
