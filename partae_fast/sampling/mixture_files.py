"""Mixtures as files with a table, in the layout of LibriMix, for other programs and for fixed test sets."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path
from ..audio import files
from ..audio.files import PathLike
from ..errors import UserError
from .mixtures import MixtureSampler

TABLE = "mixtures.csv"
# The first five are LibriMix's; paths are relative to the folder.
_COLUMNS = ("mixture_ID", "mixture_path", "source_1_path", "noise_path", "length", "rate", "voice", "noise", "snr_db")
_FOLDERS = {"mixture_path": "mix", "source_1_path": "s1", "noise_path": "noise"}


@dataclass(frozen=True)
class Mixture:
    """A mixture that was read from files.

    Attributes:
        name: of the mixture, unique in its folder.
        mixture, voice, noise: samples (T,); the mixture is the sum of voice and noise.
        rate: in Hz.
        voice_name, noise_name: of the sources.
        snr: of voice to noise in dB.
    """

    name: str
    mixture: NDArray[np.float32]
    voice: NDArray[np.float32]
    noise: NDArray[np.float32]
    rate: int
    voice_name: str
    noise_name: str
    snr: float


def write_mixtures(folder: PathLike, sampler: MixtureSampler, count: int, first: int = 0) -> Path:
    """Write mixtures of a sampler to files: mix/, s1/ (the voices), noise/ and a table, mixtures.csv.

    Files are WAV in 32-bit floats, so `read_mixtures` returns the samples of the sampler bit for bit. The table has the
    columns of LibriMix (mixture_ID, mixture_path, source_1_path, noise_path, length) and rate, voice, noise and snr_db.

    Args:
        folder: of the files; created if missing.
        sampler: of the mixtures, numbered from 0 through its batches.
        count: number of mixtures, 1 or more.
        first: number of the first mixture, to use others than those of a training with the same sampler.

    Returns:
        The path of the table.

    Raises UserError if `count` or `first` is out of range, if the folder has a table, or if a file cannot be written.

    >>> import tempfile
    >>> voices, noises = {"ann": [np.ones(900)]}, {"rain": [np.ones(900)]}
    >>> sampler = MixtureSampler(voices, noises, rate=400, batch=3, n_fft=64, hop=32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     table = write_mixtures(folder, sampler, count=4)
    ...     [mixture.name for mixture in read_mixtures(folder)]
    ['mixture00000', 'mixture00001', 'mixture00002', 'mixture00003']
    """
    if count < 1 or first < 0:
        raise UserError(f"count is {count} and first {first}; count must be 1 or more, and first 0 or more")
    top = Path(folder)
    table, rows = top / TABLE, []
    if table.exists():
        raise UserError(f"{table}: exists; name another folder, or remove this one")
    for name in _FOLDERS.values():
        (top / name).mkdir(parents=True, exist_ok=True)
    names = [*sampler.voices, *sampler.noises]
    for number in range(first, first + count):
        step, item = divmod(number, sampler.batch)
        sounds, sources = sampler.sounds_at(step, range(item, item + 1))
        voice, noise = sounds[0].cpu().numpy()
        mixture_id = f"mixture{number:05d}"
        paths = {column: f"{name}/{mixture_id}.wav" for column, name in _FOLDERS.items()}
        for path, samples in zip(paths.values(), (voice + noise, voice, noise), strict=True):
            files.write(top / path, samples, sampler.rate, "FLOAT", overwrite=True)
        voice_number, noise_number = sources[0].tolist()
        power, other = (float(np.sum(np.square(part, dtype=np.float64))) for part in (voice, noise))
        details = (len(voice), sampler.rate, names[voice_number], names[noise_number], 10 * np.log10(power / other))
        rows.append((mixture_id, *paths.values(), *details[:-1], f"{details[-1]:.6f}"))
    with atomic_path(table) as path, path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_COLUMNS)
        writer.writerows(rows)
    return table


def read_mixtures(folder: PathLike) -> Iterator[Mixture]:
    """Yield the mixtures that `write_mixtures` wrote to a folder, in the order of the table.

    Raises UserError if the table or a file is missing or damaged, or if a file has another rate or length than the
    table says.
    """
    top = Path(folder)
    table = files.require_file(top / TABLE)
    with open(table, newline="", encoding="utf-8") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                paths = [top / row[column] for column in _FOLDERS]
                length, rate, snr = int(row["length"]), int(row["rate"]), float(row["snr_db"])
                names = row["mixture_ID"], row["voice"], row["noise"]
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{table}: line {line} is damaged; write the mixtures again") from None
            parts = []
            for path in paths:
                samples, file_rate = files.read(path)
                if (len(samples), file_rate) != (length, rate):
                    raise UserError(
                        f"{path}: has {len(samples)} samples at {file_rate} Hz, and the table says {length} at {rate} "
                        "Hz; write the mixtures again"
                    )
                parts.append(samples[:, 0])
            yield Mixture(names[0], parts[0], parts[1], parts[2], rate, names[1], names[2], snr)
