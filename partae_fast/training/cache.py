"""A folder of spectrograms: each recording's is computed once, and need not fit into memory."""
# A recording has one file, NAME-KEY.npy. KEY is a digest of its path, size and time of change, and of the spectrogram's
# settings, so a change of any of them makes another file. Files are written atomically: a run that was stopped computes
# only what is missing. A file is an .npy of (channels, frames, bins) float32, followed by JSON, eight bytes with the
# length of the JSON, and MAGIC. The JSON has the SHA-256 of each channel's bytes; a file that does not match them is
# computed again.

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..atomic import atomic_path, check_writable
from ..audio import files
from ..audio.offset import offset_window, without_offset
from ..audio.resample import resample_blocks
from ..audio.spectrogram import Spectrogram
from ..errors import UserError
from .loop import progress_bar
from .stored import CHUNK, Stored

logger = logging.getLogger("partae_fast")

MAGIC = b"partaeS2"
_BLOCK = 1 << 18  # samples read at a time
_READ = 1 << 24  # bytes checked at a time
_ALONE = 300.0  # seconds of audio below which one process works alone: another takes some 3 s to start
_EDGE_FRAMES = 16


@dataclass(frozen=True)
class Features:
    """A recording in the cache: number, from 1, and magnitudes of each channel that is not silent."""

    channels: list[tuple[int, Stored]]
    count: int  # of all channels, silent ones included
    seconds: float
    loudest: float  # the largest magnitude away from both ends
    level: float  # root mean square of the samples


class Cache:
    """A folder of spectrograms.

    owner: a temporary folder that exists as long as the features.

    Raises UserError if the folder cannot be made or written to.
    """

    def __init__(self, folder: str | os.PathLike[str], spectrogram: Spectrogram, owner: Any = None) -> None:
        self._folder, self._spectrogram, self._owner = Path(folder), spectrogram, owner
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{folder}: cannot be a folder: {error.strerror}; choose another for the cache") from error
        check_writable(self._folder / "any")

    def fill(self, recordings: Sequence[Any], processes: int | None = None, progress: bool | None = None) -> int:
        """Compute missing and damaged spectrograms in several processes; return how many these were.

        Raises UserError for a recording that cannot be used; finished spectrograms stay.
        """
        work = [(str(recording), str(self.path_of(recording)), self._spectrogram) for recording in recordings]
        seconds = sum(files.info(recording).seconds for recording in recordings)
        count = min(processes or os.cpu_count() or 1, len(work)) if seconds > _ALONE else 1
        made = 0
        with progress_bar("spectrograms", 0, len(work), progress) as bar:
            for computed in self._computed(work, count):
                made += computed
                bar.update(1)
        if made:
            logger.info(
                "%s: computed spectrograms of %d recordings; %d were present", self._folder, made, len(work) - made
            )
        return made

    def _computed(self, work: list[tuple[str, str, Spectrogram]], count: int) -> Iterator[bool]:
        if count == 1:
            yield from (_ready(*task) for task in work)
            return
        pool = ProcessPoolExecutor(count, get_context("spawn"), _ignore_interrupts)
        try:
            for future in as_completed([pool.submit(_ready, *task) for task in work]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)

    def features(self, recording: Any) -> Features:
        """Return a recording's features, computed now if they are missing; unlike `fill`, without a check."""
        path = self.path_of(recording)
        about = _about(path)
        if about is None:
            _ready(str(recording), str(path), self._spectrogram)
            about = _about(path)
        assert about is not None
        bins, room = self._spectrogram.bins, about["room"]
        channels = [
            (
                c + 1,
                Stored(
                    path,
                    about["frames"],
                    bins,
                    about["start"] + c * room * bins * 4,
                    about["sha256"][c],
                    self._owner,
                ),
            )
            for c, silent in enumerate(about["silent"])
            if not silent
        ]
        return Features(channels, len(about["silent"]), about["seconds"], about["loudest"], about["level"])

    def path_of(self, recording: Any) -> Path:
        """Return the path of a recording's features."""
        path = files.require_file(recording)
        state = path.stat()
        settings = {k: v for k, v in self._spectrogram.to_dict().items() if k != "gain"}
        key = [os.path.realpath(path), state.st_size, state.st_mtime_ns, settings]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode("utf-8", "surrogateescape")).hexdigest()
        return self._folder / f"{path.stem[:40]}-{digest[:24]}.npy"


def _ignore_interrupts() -> None:
    """Let a worker process ignore Ctrl-C, which its parent handles."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _ready(recording: str, target: str, spectrogram: Spectrogram) -> bool:
    """Write the features to `target` unless an intact file is there; return whether they were written."""
    path = Path(target)
    if path.exists():
        if _is_intact(path):
            return False
        logger.warning("%s: damaged; the spectrogram of %s is computed again", target, recording)
    _write(recording, path, spectrogram)
    return True


def _write(recording: str, path: Path, spectrogram: Spectrogram) -> None:
    info = files.info(recording)
    bins = spectrogram.bins
    # Rows for each channel, enough for any rounding of the resampler; unused rows stay a hole in the file.
    room = spectrogram.frame_count(-(-info.frames * spectrogram.rate // info.rate)) + 2
    levels = _Levels(info.channels)
    digests = [hashlib.sha256() for _ in range(info.channels)]
    with atomic_path(path) as temporary, open(temporary, "r+b") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f4", "fortran_order": False, "shape": (info.channels, room, bins)}
        )
        start, frames = file.tell(), 0
        blocks = resample_blocks(
            levels.measured(files.blocks(recording, _BLOCK)), info.rate, spectrogram.rate, info.channels
        )
        blocks = without_offset(blocks, offset_window(spectrogram))
        for magnitudes in magnitudes_of(blocks, spectrogram, info.channels):
            if frames + magnitudes.shape[1] > room:
                raise UserError(f"{recording}: is longer than its header says; convert it again")
            for c, rows in enumerate(magnitudes):
                content = rows.astype("<f4", copy=False).tobytes()
                digests[c].update(content)
                file.seek(start + (c * room + frames) * bins * 4)
                file.write(content)
            frames += magnitudes.shape[1]
        file.flush()
        offsets = [start + c * room * bins * 4 for c in range(info.channels)]
        channels = [Stored(temporary, frames, bins, offset, "") for offset in offsets]
        about = {
            "recording": os.path.realpath(recording),
            "spectrogram": spectrogram.to_dict(),
            "start": start,
            "room": room,
            "frames": frames,
            "seconds": levels.count / info.rate,
            "silent": [not audible for audible in levels.audible.tolist()],
            "loudest": max(map(_loudest, channels)),
            "level": levels.level,
            "sha256": [digest.hexdigest() for digest in digests],
        }
        text = json.dumps(about).encode()
        file.seek(start + info.channels * room * bins * 4)
        file.write(text + len(text).to_bytes(8, "little") + MAGIC)


def magnitudes_of(
    blocks: Iterator[NDArray[np.float32]], spectrogram: Spectrogram, channels: int
) -> Iterator[NDArray[np.float32]]:
    """Yield magnitudes (channels, frames, bins) of blocks (t, channels) at the spectrogram's rate."""
    n_fft, hop = spectrogram.n_fft, spectrogram.hop
    band = slice(spectrogram.first, spectrogram.first + spectrogram.bins)
    pending = np.zeros((n_fft // 2, channels), np.float32)
    length = done = 0

    def spectra(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([np.abs(spectrogram.spectra(channel)[:, band]) for channel in np.ascontiguousarray(samples.T)])

    for block in blocks:
        length += len(block)
        pending = np.concatenate([pending, block])
        # The last frames wait: their number depends on the end of the recording.
        count = min((len(pending) - n_fft) // hop + 1, spectrogram.frame_count(length) - 1 - done)
        if count > 0:
            yield spectra(pending[: (count - 1) * hop + n_fft])
            pending, done = pending[count * hop :], done + count
    left = spectrogram.frame_count(length) - done
    if left > 0:
        missing = (left - 1) * hop + n_fft - len(pending)
        yield spectra(np.concatenate([pending, np.zeros((max(0, missing), channels), np.float32)]))


class _Levels:
    """Measures of samples: their number, which channels are not silent, and the root mean square."""

    def __init__(self, channels: int) -> None:
        self.count, self.audible, self._square = 0, np.zeros(channels, bool), 0.0

    def measured(self, blocks: Iterator[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for block in blocks:
            self.count += len(block)
            self.audible |= block.any(axis=0)
            self._square += float(np.square(block, dtype=np.float64).sum())
            yield block

    @property
    def level(self) -> float:
        return float(np.sqrt(self._square / max(1, self.count * len(self.audible))))


def _loudest(channel: Stored) -> float:
    """Return the largest magnitude away from both ends, at which an offset looks like a click."""
    edge = min(_EDGE_FRAMES, len(channel) // 4)
    firsts = range(edge, len(channel) - edge, CHUNK)
    return max((float(channel[i : min(i + CHUNK, len(channel) - edge)].max()) for i in firsts), default=0.0)


def _about(path: Path) -> dict[str, Any] | None:
    """Return the JSON at the end of a file; None if it is missing, cut, or not a file of the cache."""
    try:
        with open(path, "rb") as file:
            return _trailer(file)
    except FileNotFoundError:
        return None


def _trailer(file: BinaryIO) -> dict[str, Any] | None:
    size = file.seek(0, os.SEEK_END)
    if size < 16:
        return None
    file.seek(size - 16)
    end = file.read(16)
    length = int.from_bytes(end[:8], "little")
    if end[8:] != MAGIC or length > size - 16:
        return None
    file.seek(size - 16 - length)
    try:
        return json.loads(file.read(length))
    except ValueError:
        return None


def _is_intact(path: Path) -> bool:
    """Return whether a file belongs to the cache and its magnitudes match their checksums."""
    with open(path, "rb") as file:
        about = _trailer(file)
        if about is None:
            return False
        try:
            bins = Spectrogram.from_dict(about["spectrogram"]).bins
            for c, checksum in enumerate(about["sha256"]):
                file.seek(about["start"] + c * about["room"] * bins * 4)
                digest, left = hashlib.sha256(), about["frames"] * bins * 4
                while left > 0 and (content := file.read(min(left, _READ))):
                    digest.update(content)
                    left -= len(content)
                if left or digest.hexdigest() != checksum:
                    return False
        except (KeyError, TypeError, UserError):
            return False
    return True
