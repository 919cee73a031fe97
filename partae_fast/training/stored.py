"""Spectrograms on disk that are read piece by piece, and functions for those in memory and on disk alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 65536  # frames read at a time


class Stored:
    """Magnitudes (frames, bins) of a channel in a file of the cache, with the interface of an array.

    A slice reads float32 frames from the file; a mask (frames,) returns another Stored; `*=` stores a factor that is
    applied to everything read later. Only the frames that are read are mapped.

    Args:
        path: the file.
        frames, bins: the shape.
        offset: bytes before the first frame; the frames follow as float32.
        sha256: digest of the channel's bytes.
        owner: a temporary folder that exists as long as this object.
    """

    ndim = 2

    def __init__(self, path: Path, frames: int, bins: int, offset: int, sha256: str, owner: Any = None) -> None:
        self._owner = owner
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
                raise IndexError(f"the step of the slice is {step}; it must be 1")
            return self._read(first, max(first, last))
        return self._masked(np.asarray(key))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self[:].astype(dtype or np.float32, copy=False)

    def __imul__(self, factor: float) -> "Stored":
        self._factor = np.float32(self._factor * np.float32(factor))
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_owner": None}  # the folder belongs to the process that made it

    def identity(self) -> str:
        """Return a text that identifies these magnitudes, without reading them."""
        return f"{self._sha256} {self._pieces.tolist()} {self._factor!r}"

    def _masked(self, mask: NDArray[np.bool_]) -> "Stored":
        if mask.shape != (len(self),) or mask.dtype != bool:
            raise IndexError(f"the mask is {mask.dtype} {mask.shape}; it must be bool {(len(self),)}")
        edges = np.flatnonzero(np.diff(mask, prepend=False, append=False)).reshape(-1, 2)
        pieces = [piece for first, last in edges for piece in self._stretches(int(first), int(last))]
        part = Stored(self._path, 0, self._bins, self._offset, self._sha256, self._owner)
        part._factor = self._factor
        part._pieces = np.array(pieces, dtype=np.int64).reshape(-1, 2)
        part._before = np.concatenate([[0], np.cumsum(part._pieces[:, 1] - part._pieces[:, 0])])
        return part

    def _stretches(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches of the file, first and end frame, with the frames first .. last - 1 of this object."""
        for i in range(int(np.searchsorted(self._before, first, side="right")) - 1, len(self._pieces)):
            start = int(self._pieces[i, 0]) + max(0, first - int(self._before[i]))
            end = int(self._pieces[i, 1]) - max(0, int(self._before[i + 1]) - last)
            if end <= start:
                return
            yield start, end

    def _read(self, first: int, last: int) -> NDArray[np.float32]:
        out = np.empty((last - first, self._bins), np.float32)
        done = 0
        for start, end in self._stretches(first, last) if last > first else ():
            # Mapped for the copy only: mapped pages count as memory.
            at = self._offset + start * self._bins * 4
            mapped = np.memmap(self._path, np.float32, "r", at, (end - start, self._bins))
            np.multiply(mapped, self._factor, out=out[done : done + end - start])
            done += end - start
        return out


def is_stored(recordings: Sequence[Any]) -> bool:
    """Return whether any recording is on disk."""
    return any(isinstance(recording, Stored) for recording in recordings)


def parts(recording: Any) -> Iterator[NDArray[np.float32]]:
    """Yield a recording in memory as it is, and one on disk piece by piece."""
    if not isinstance(recording, Stored):
        yield recording
        return
    for first in range(0, len(recording), CHUNK):
        yield recording[first : first + CHUNK]


def excerpt(recordings: Sequence[Any], most: int, least: int, seed: int) -> list[Any]:
    """Return stretches of the recordings that fit into memory; all recordings if none is on disk.

    A stretch has CHUNK / 16 frames, or `least` if that is more. Stretches are drawn without replacement until there
    are `most` frames; a recording's last stretch may overlap the one before.
    """
    if not is_stored(recordings):
        return list(recordings)
    length = max(CHUNK // 16, least)
    starts = [
        (i, min(start, max(0, len(recording) - length)))
        for i, recording in enumerate(recordings)
        for start in range(0, len(recording), length)
    ]
    stretches, left = [], most
    for at in np.random.default_rng([seed, 0xCA]).permutation(len(starts)):
        if left <= 0:
            break
        i, start = starts[at]
        stretches.append(recordings[i][start : start + length])
        left -= len(stretches[-1])
    return stretches
