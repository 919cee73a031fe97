"""A sampler for recordings that do not fit into memory: it draws crops from a part of them, which is renewed."""
# Recordings are cut into segments that overlap by a crop less one frame, so that every crop lies in one. The segments
# of a group come in a random order, all of them before any comes again. The reservoir holds the next `slots` segments
# of the order; every `every` steps the oldest ones go and as many new ones come. The segments in memory at a step
# follow from the seed and the step alone (Philox counters), so a resumed run has the same ones. Between two renewals
# the sampler is an ordinary CropSampler whose recordings are the segments, and whole steps run in one launch. The next
# segments are read meanwhile.

import hashlib
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import get_worker_info

from ..errors import UserError
from ..kernels.philox import first_word
from ..sampling.crops import CropSampler, check_settings
from .stored import Stored

DEFAULT_MIB = 1024
_CROPS = 8  # in a segment, end to end
_TURNS = 8  # renewals after which all of a group's segments are new
_SHOWN = 8.0  # mean number of times that a frame is drawn before it goes
_ORDERS = 1 << 31  # plus the group's number: the group word of the counters that order its segments
_LEAST_SLOTS = 4


@dataclass(frozen=True)
class _Segment:
    recording: int
    first: int
    frames: int


@dataclass(frozen=True)
class _Group:
    """The segments of a group, and the rows of those in memory."""

    recordings: Sequence[Any]
    segments: list[_Segment]
    slots: int
    turn: int  # new segments in a renewal; 0 if all are in memory
    row: int  # first row of slot 0 in the source


class ReservoirSampler(CropSampler):
    """A CropSampler that keeps at most `mebibytes` of the recordings in memory.

    Args:
        signal, noise: groups of recordings, arrays or `Stored`, (T, bins) of finite magnitudes >= 0.
        frames, batch, noise_only, seed: as for CropSampler.
        mebibytes: size of the reservoir in units of 2**20 bytes, shared evenly by the groups that do not fit.

    mean, std and noise_mean_square are those of the complete recordings, which are read in two passes.

    Raises UserError as CropSampler does, and if the reservoir is too small for a few segments of each group.
    """

    def __init__(
        self,
        signal: Sequence[Sequence[Any]],
        noise: Sequence[Sequence[Any]],
        frames: int,
        batch: int,
        noise_only: float,
        seed: int,
        mebibytes: float = DEFAULT_MIB,
    ) -> None:
        check_settings(signal, noise, frames, batch, noise_only, seed)
        self._signal_groups, self._noise_groups, self._corruption_groups = len(signal), len(noise), 0
        groups = [_long_enough(group, frames) for group in (*signal, *noise)]
        self.bins = int(groups[0][0].shape[1])
        self._segment_frames = _CROPS * frames
        self._mebibytes = mebibytes
        self._groups = self._shared_out(groups, [_cut(group, frames, self._segment_frames) for group in groups], frames)
        self._compute_statistics([[(recording, recording) for recording in group] for group in groups])
        last = self._groups[-1]
        self.source = torch.zeros(last.row + last.slots * self._segment_frames, self.bins)
        self.target = None
        self._every = self._steps_between(frames, batch)
        self._settings = int(frames), int(batch), float(noise_only), int(seed)
        self._orders: dict[tuple[int, int], NDArray[np.intp]] = {}
        self._reader = ThreadPoolExecutor(1, "partae-reservoir")
        self._turn_number = -1
        self._next: Future[list[NDArray[np.float32]]] | None = None
        self.seed = int(seed)
        self.ready(0)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        if get_worker_info() is not None:
            raise UserError("a reservoir reads in its own thread; give the DataLoader num_workers=0")
        return super().__iter__()

    @property
    def resident(self) -> int:
        """Number of bytes of the recordings in memory."""
        return self.source.numel() * self.source.element_size()

    @property
    def every(self) -> int:
        """Number of steps from one renewal to the next."""
        return self._every

    def ready(self, step: int) -> int:
        number = step // self._every
        if number != self._turn_number:
            coming = self._next if number == self._turn_number + 1 else None
            loads = self._loads(number, everything=coming is None)
            self._load(number, loads, self._read(loads) if coming is None else coming.result())
            self._next = self._reader.submit(self._read, self._loads(number + 1, everything=False))
        return (number + 1) * self._every - step

    def with_settings(
        self,
        frames: int | None = None,
        batch: int | None = None,
        noise_only: float | None = None,
        seed: int | None = None,
    ) -> CropSampler:
        raise UserError("a reservoir has fixed settings; make another for other settings")

    def fingerprint(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for group in self._groups:
            for recording in group.recordings:
                digest.update(_identity(recording))
        frames, batch, noise_only, seed = self._settings
        return {
            "seed": seed,
            "frames": frames,
            "batch": batch,
            "noise_only": noise_only,
            "bins": self.bins,
            "signal_groups": self._signal_groups,
            "noise_groups": self._noise_groups,
            "recordings_sha256": digest.hexdigest(),
            "reservoir_mebibytes": self._mebibytes,
        }

    def _shared_out(self, groups: list[list[Any]], segments: list[list[_Segment]], frames: int) -> list[_Group]:
        """Return the groups with their slots: all segments if they fit, else an even share of the memory."""
        room = int(self._mebibytes * 2**20) // (4 * self.bins * self._segment_frames)
        slots, left = [0] * len(groups), len(groups)
        for g in sorted(range(len(groups)), key=lambda g: len(segments[g])):
            slots[g] = min(len(segments[g]), room // left)
            room, left = room - slots[g], left - 1
        if any(count < min(_LEAST_SLOTS, len(own)) for count, own in zip(slots, segments, strict=True)):
            least = _LEAST_SLOTS * len(groups) * 4 * self.bins * self._segment_frames / 2**20
            raise UserError(
                f"a reservoir of {self._mebibytes:g} MiB is too small for crops of {frames} frames, {self.bins} bins; "
                f"give {math.ceil(least)} MiB or more"
            )
        shares, row = [], 0
        for recordings, own, count in zip(groups, segments, slots, strict=True):
            turn = 0 if count == len(own) else -(-count // _TURNS)
            shares.append(_Group(recordings, own, count, turn, row))
            row += count * self._segment_frames
        return shares

    def _steps_between(self, frames: int, batch: int) -> int:
        """Return the steps between renewals at which a frame is drawn `_SHOWN` times on average."""
        coming = sum(group.turn for group in self._groups) * self._segment_frames
        return max(1, round(_SHOWN * coming / (batch * frames))) if coming else 2**32

    def _loads(self, number: int, everything: bool) -> list[tuple[int, int]]:
        """Return (group, number in its order) of a renewal's new segments, or of all segments after it."""
        loads = []
        for g, group in enumerate(self._groups):
            first, last = number * group.turn, number * group.turn + group.slots
            loads += [(g, load) for load in range(first if everything else last - group.turn, last)]
        return loads

    def _segment(self, g: int, load: int) -> _Segment:
        """Return segment number `load` of a group's endless order."""
        group = self._groups[g]
        epoch, at = divmod(load, len(group.segments))
        if (g, epoch) not in self._orders:
            items = np.arange(len(group.segments), dtype=np.uint64)
            step, number = np.full(1, epoch, np.uint64), np.full(1, _ORDERS + g, np.uint64)
            words = first_word(self.seed, step, items, number)
            self._orders = {key: order for key, order in self._orders.items() if key[0] != g or key[1] >= epoch - 1}
            self._orders[g, epoch] = np.argsort(words, kind="stable")
        return group.segments[int(self._orders[g, epoch][at])]

    def _read(self, loads: list[tuple[int, int]]) -> list[NDArray[np.float32]]:
        parts = []
        for g, load in loads:
            segment = self._segment(g, load)
            recording = self._groups[g].recordings[segment.recording]
            parts.append(recording[segment.first : segment.first + segment.frames])
        return parts

    def _load(self, number: int, loads: list[tuple[int, int]], parts: list[NDArray[np.float32]]) -> None:
        """Copy segments into their slots and number the crops again."""
        for (g, load), part in zip(loads, parts, strict=True):
            row = self._row(g, load)
            self.source[row : row + len(part)].copy_(torch.from_numpy(np.ascontiguousarray(part, np.float32)))
        rows = []
        for g, group in enumerate(self._groups):
            first = number * group.turn
            lengths = {self._row(g, load): self._segment(g, load).frames for load in range(first, first + group.slots)}
            rows.append([range(row, row + lengths[row]) for row in sorted(lengths)])
        self._rows = rows
        self._plan(*self._settings)
        self._turn_number = number

    def _row(self, g: int, load: int) -> int:
        group = self._groups[g]
        return group.row + load % group.slots * self._segment_frames


def _long_enough(group: Sequence[Any], frames: int) -> list[Any]:
    long_enough = [recording for recording in group if len(recording) >= frames]
    if not long_enough:
        longest = max(map(len, group), default=0)
        raise UserError(
            f"the longest recording has {longest} frames and a crop has {frames}; give longer ones or fewer frames"
        )
    return long_enough


def _cut(group: Sequence[Any], frames: int, most: int) -> list[_Segment]:
    """Return segments of at most `most` frames that overlap by `frames` - 1, so that every crop lies in one."""
    return [
        _Segment(i, first, min(most, len(recording) - first))
        for i, recording in enumerate(group)
        for first in range(0, len(recording) - frames + 1, most - frames + 1)
    ]


def _identity(recording: Any) -> bytes:
    if isinstance(recording, Stored):
        return recording.identity().encode()
    return hashlib.sha256(np.ascontiguousarray(recording, np.float32).data).digest()
