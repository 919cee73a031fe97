"""Spectrograms that stay on disk and are read piece by piece, among those that are in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 65536  # frames that are read at a time


class Stored:
    """Magnitudes (frames, bins) of a channel in a file of the cache: an array, but for where it is.

    It has `shape`, `size` and a length; a slice is read from the file, float32; a mask (frames,) gives another Stored;
    `*=` a number is remembered and applied to whatever is read. No more of the file is mapped than what is asked for.

    Arguments:
        path: the file.
        frames, bins: how many there are.
        offset: bytes before the first frame; float32, frame by frame, stand from there on.
        sha256: of the channel's bytes.
    """

    ndim = 2

    def __init__(self, path: Path, frames: int, bins: int, offset: int, sha256: str) -> None:
        self._path, self._offset, self._bins, self._sha256 = path, offset, bins, sha256
        self._pieces, self._factor = (
            np.array([[0, frames]]),
            np.float32(1),
        )  # (pieces, 2): first frame and the one after
        self._before = np.array([0, frames])

    @property
    def shape(self) -> tuple[int, int]:
        return len(self), self._bins

    @property
    def size(self) -> int:
        return len(self) * self._bins

    def __len__(self) -> int:
        return int(self._before[-1])

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            first, last, step = key.indices(len(self))
            if step != 1:
                raise IndexError("frames are read in their order, each")
            return self._read(first, max(first, last))
        return self._masked(np.asarray(key))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)

    def __imul__(self, factor: float) -> "Stored":
        self._factor = np.float32(self._factor * np.float32(factor))
        return self

    def identity(self) -> str:
        """What tells these magnitudes from others, without their being read."""
        return f"{self._sha256} {self._pieces.tolist()} {self._factor!r}"

    def _masked(self, wanted: NDArray[np.bool_]) -> "Stored":
        if wanted.shape != (len(self),) or wanted.dtype != bool:
            raise IndexError(f"a mask of {len(self)} frames is wanted, and {wanted.dtype} {wanted.shape} was given")
        edges = np.flatnonzero(np.diff(wanted, prepend=False, append=False)).reshape(-1, 2)
        pieces = [piece for first, last in edges for piece in self._places(int(first), int(last))]
        part = Stored(self._path, 0, self._bins, self._offset, self._sha256)
        part._factor = self._factor
        part._pieces = np.array(pieces, dtype=np.int64).reshape(-1, 2)
        part._before = np.concatenate([[0], np.cumsum(part._pieces[:, 1] - part._pieces[:, 0])])
        return part

    def _places(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The stretches of the file that hold our frames first .. last - 1."""
        for i in range(int(np.searchsorted(self._before, first, side="right")) - 1, len(self._pieces)):
            start = int(self._pieces[i, 0]) + max(0, first - int(self._before[i]))
            end = int(self._pieces[i, 1]) - max(0, int(self._before[i + 1]) - last)
            if end <= start:
                return
            yield start, end

    def _read(self, first: int, last: int) -> NDArray[np.float32]:
        out = np.empty((last - first, self._bins), np.float32)
        done = 0
        for start, end in self._places(first, last) if last > first else ():
            # A map of this stretch alone, which goes when it has been copied: what is mapped counts as memory.
            at = self._offset + start * self._bins * 4
            mapped = np.memmap(self._path, np.float32, "r", at, (end - start, self._bins))
            np.multiply(mapped, self._factor, out=out[done : done + end - start])
            done += end - start
        return out


def is_stored(recordings: Sequence[Any]) -> bool:
    """Whether any of them is on disk."""
    return any(isinstance(recording, Stored) for recording in recordings)


def parts(recording: Any) -> Iterator[NDArray[np.float32]]:
    """A recording that is in memory as it is, one on disk piece by piece."""
    if not isinstance(recording, Stored):
        yield recording
        return
    for first in range(0, len(recording), CHUNK):
        yield recording[first : first + CHUNK]


def excerpt(recordings: Sequence[Any], most: int, least: int, seed: int) -> list[Any]:
    """What of the recordings is worth a look where they are too long to be looked at whole.

    All where none is on disk. Else stretches of up to CHUNK / 16 frames, of at least `least`, drawn without
    replacement until there are `most` frames; a recording's last stretch may overlap the one before.
    """
    if not is_stored(recordings):
        return list(recordings)
    length = max(CHUNK // 16, least)
    starts = [
        (i, min(start, max(0, len(recording) - length)))
        for i, recording in enumerate(recordings)
        for start in range(0, len(recording), length)
    ]
    found, left = [], most
    for at in np.random.default_rng([seed, 0xCA]).permutation(len(starts)):
        if left <= 0:
            break
        i, start = starts[at]
        found.append(recordings[i][start : start + length])
        left -= len(found[-1])
    return found
