"""Random crops and mixtures for training, drawn by counter: the same on every machine and back-end.

Everything a batch depends on is the seed, the step's number and the recordings, so a resumed run needs no
more than the step's number, and a kernel can draw its own crops. `partae_fast.reference.sampler` is the
same, plainly.
"""

import copy
import hashlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..kernels.philox import first_word
from ..kernels.train_steps import Crops
from .batches import BatchStream

logger = logging.getLogger("partae_fast")

Recording = Any  # an array or a tensor (frames, bins), or a tuple of two: what goes in, and what is to come out of it
Group = Sequence[Recording]
_Pair = tuple[np.ndarray, np.ndarray]  # a recording and its target, one object where it is its own

_CHUNK = 65536  # frames that are widened to float64 at once
_LANES = 4096  # draws that are made at once, over as many steps as that takes


class CropSampler(BatchStream):
    """Batches of random crops of magnitude spectrograms, signal-plus-noise and noise-only.

    A signal-plus-noise item is the sum of one random crop of each group in `signal`, a noise-only item the
    sum of one crop of each group in `noise`. Items 0 .. round(batch * noise_only) - 1 are noise-only. One crop
    of each group in `corruption` is added to every item but not to its target, what a model is to make of it. A
    recording may have a target of its own, as a remix has its clean part and noise has silence: an item's target is
    then the sum of its crops' targets, the same frames of each.
    Within a group every crop of every recording is equally likely; a recording shorter than `frames` has
    none and is left out.

    Args:
        signal: groups; a group is a list of recordings, each an array or tensor (T, bins) of magnitudes >= 0, or a
            tuple of two of one shape: the recording, and its target. One alone is its own target.
        noise: groups likewise; may be empty where `noise_only` is 0.
        frames: frames in a crop, >= 1.
        batch: items in a batch, >= 1.
        noise_only: share of the items that are noise-only, 0 to 1.
        seed: 0 to 2**64 - 1.
        corruption: groups of recordings alone, what a denoising autoencoder learns to take away; may be empty.

    Raises UserError for empty groups, recordings of different bins, none as long as a crop, targets of another shape
    or of a corruption, or magnitudes that are negative, NaN or infinite (naming group and recording), and for
    settings out of range.

    `crops` is what a kernel that draws its own crops is given; see `partae_fast.kernels.train_steps.Crops`. Its
    `source` (all frames, bins) follows `.to(device)`, and so does `target`, likewise, None where every recording is
    its own.

    Iteration yields the batches of steps 0, 1, 2 and so on: x, noise_only and, where it is not x, the target. See
    `BatchStream` for use with a DataLoader.

    Also `mean` and `std` (bins,) float32, of the expected mixture of signal and corruption groups, std no lower
    than a thousandth of its mean over bins; and `noise_mean_square` (bins,) float32, of the noise groups' (zeros
    where there are none). All are of what goes in.

    Stowell & Turner 2015, section 4 (noise-only items, corruption); Salmon et al. 2011 (Philox).

    >>> sampler = CropSampler(signal=[[np.eye(40, 8)]], noise=[[np.ones((50, 8))]], frames=16, batch=4)
    >>> x, noise_only = next(iter(sampler))
    >>> tuple(x.shape), noise_only.tolist()
    ((4, 16, 8), [1.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        signal: Sequence[Group],
        noise: Sequence[Group],
        frames: int = 512,
        batch: int = 16,
        noise_only: float = 0.25,
        seed: int = 0,
        corruption: Sequence[Group] = (),
    ) -> None:
        check_settings(signal, noise, frames, batch, noise_only, seed)
        _check_corruption(corruption)
        self._signal_groups, self._noise_groups = len(signal), len(noise)
        self._corruption_groups = len(corruption)
        groups = self._kept([*signal, *noise, *corruption], frames)
        self.bins = int(groups[0][0][0].shape[1])
        self._lay_out(groups)
        self._measure(groups)
        self._plan(frames, batch, noise_only, seed)

    @property
    def crops(self) -> Crops:
        """Where the items come from, for a kernel that draws them itself."""
        return Crops(
            self.source,
            self.starts_before,
            self.shift,
            self.group_first,
            self.group_starts,
            self._signal_groups,
            self.frames,
            self.batch,
            self.noise_items,
            self.seed,
            self._corruption_groups,
            self.target,
        )

    def batch_at(self, step: int, items: range | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch of a step, 0 <= step < 2**32: x (batch, frames, bins) and noise_only (batch,).

        Both are float32, on the device of `source`; noise_only is 1 where the item is noise-only. With `items`, of step
        1, only these items of that batch are made.
        """
        items = range(self.batch) if items is None else items
        x = self._own(step, self.source, items)
        if self._corruption_groups:
            starts = self.starts_at(step)[-self._corruption_groups * self.batch :]
            starts = starts.reshape(self._corruption_groups, self.batch)
            self._mix(starts[:, items.start : items.stop], self.source, x, onto=True)
        return x, self._noise_flags[items.start : items.stop].clone()

    def target_at(self, step: int, items: range | None = None) -> torch.Tensor:
        """What a model is to make of the x of `batch_at(step, items)`: the crops' targets, without corruption."""
        items = range(self.batch) if items is None else items
        return self._own(step, self.source if self.target is None else self.target, items)

    def training_batch(self, step: int) -> tuple[torch.Tensor, ...]:
        """x and noise_only of a step, and the target where it is not x: what a model's `training_loss` takes."""
        batch = self.batch_at(step)
        return batch if self.crops.target_is_input else (*batch, self.target_at(step))

    def _own(self, step: int, recordings: torch.Tensor, items: range) -> torch.Tensor:
        """The sum of each item's crops (items, frames, bins), but for corruption, out of `source` or `target`."""
        starts, signal_items = self.starts_at(step), self.batch - self.noise_items
        silent = self.noise_items * self._noise_groups
        noise = starts[:silent].reshape(self._noise_groups, self.noise_items)
        signal = starts[silent : silent + self._signal_groups * signal_items].reshape(self._signal_groups, signal_items)
        first, last = items.start - self.noise_items, items.stop - self.noise_items  # among the signal items
        halves = [noise[:, items.start : items.stop], signal[:, max(first, 0) : max(last, 0)]]
        mixed = torch.empty((len(items), self.frames, self.bins), device=self.source.device)
        split = min(max(-first, 0), len(items))
        for part, half in zip((mixed[:split], mixed[split:]), halves, strict=True):
            if half.size:
                self._mix(half, recordings, part)
        return mixed

    def starts_at(self, step: int) -> np.ndarray:
        """The rows of `source` where a step's crops start, int64.

        The noise-only items' crops of the first noise group, of the second and so on, then the other items'
        crops of the first signal group and so on, then every item's crops of the first corruption group and so on.
        """
        if not 0 <= step < 2**32:
            raise UserError(f"step {step} is out of range; steps are numbered from 0 to 2**32 - 1")
        steps = max(1, _LANES // len(self._items))
        first = step - step % steps
        if first != self._drawn_from:
            self._drawn, self._drawn_from = self._draw(first, steps), first
        return self._drawn[step - first]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "CropSampler":
        """This sampler, its recordings moved to `device`; batches are made there from then on.

        `dtype` is what they are kept in: float32, or bfloat16, which takes half the memory and rounds them to three
        digits; batches are float32 either way. None leaves it. Whole steps on bfloat16 are for the back-ends triton
        and eager. Raises UserError for another type.
        """
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise UserError(f"recordings cannot be kept in {dtype}; choose torch.float32 or torch.bfloat16")
        self.source = self.source.to(device, dtype)
        self.target = None if self.target is None else self.target.to(device, dtype)
        self._offsets = self._offsets.to(device)
        self._noise_flags = self._noise_flags.to(device)
        return self

    def with_settings(
        self,
        frames: int | None = None,
        batch: int | None = None,
        noise_only: float | None = None,
        seed: int | None = None,
    ) -> "CropSampler":
        """A sampler of the same recordings with other settings; None keeps this one's. `source` is shared, not copied.

        Recordings that this sampler left out as too short stay out. Raises UserError as the constructor does.
        """
        frames = self.frames if frames is None else frames
        batch = self.batch if batch is None else batch
        noise_only = self.noise_only if noise_only is None else noise_only
        seed = self.seed if seed is None else seed
        signal, noise, _ = self._by_role(self._rows)
        check_settings(signal, noise, frames, batch, noise_only, seed)
        other = copy.copy(self)
        if frames != self.frames:
            source = self.source.cpu().float().numpy()
            groups = self._kept([[source[rows.start : rows.stop] for rows in group] for group in self._rows], frames)
            other._rows = [[rows for rows in group if len(rows) >= frames] for group in self._rows]
            other._measure(groups)
        other._plan(frames, batch, noise_only, seed)
        return other

    def fingerprint(self) -> dict[str, Any]:
        """All that decides which batches are drawn, the recordings as a SHA-256 of their values."""
        digest = hashlib.sha256()
        recordings = [self.source] if self.target is None else [self.source, self.target]
        values = [part.cpu().float().numpy() for part in recordings]
        for part in (self.starts_before, self.shift, self.group_first, *values):
            digest.update(np.ascontiguousarray(part).data)
        found = {
            "seed": self.seed,
            "frames": self.frames,
            "batch": self.batch,
            "noise_only": self.noise_only,
            "bins": self.bins,
            "signal_groups": self._signal_groups,
            "noise_groups": self._noise_groups,
            "recordings_sha256": digest.hexdigest(),
        }
        if self._corruption_groups:  # absent where there is none: so are the fingerprints of older checkpoints
            found["corruption_groups"] = self._corruption_groups
        return found

    def _by_role(self, groups: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """What is listed for each group, as lists for signal, noise and corruption."""
        first_corruption = self._signal_groups + self._noise_groups
        return groups[: self._signal_groups], groups[self._signal_groups : first_corruption], groups[first_corruption:]

    def _kept(self, groups: Sequence[Group], frames: int) -> list[list[_Pair]]:
        """The recordings of each group that are long enough for a crop, and their targets, checked, float32."""
        names = [f"signal[{i}]" for i in range(self._signal_groups)]
        names += [f"noise[{i}]" for i in range(self._noise_groups)]
        names += [f"corruption[{i}]" for i in range(self._corruption_groups)]
        kept = [_kept(name, group, frames) for name, group in zip(names, groups, strict=True)]
        _check_bins(names, kept)
        return kept

    def _lay_out(self, groups: list[list[_Pair]]) -> None:
        """Put each recording into `source`, and its target beside it; with one target once, and note its rows."""
        rows: dict[tuple[int, int], range] = {}
        sources, targets, total = [], [], 0
        for source, target in (pair for group in groups for pair in group):
            if (id(source), id(target)) not in rows:
                rows[id(source), id(target)] = range(total, total + len(source))
                sources.append(source)
                targets.append(target)
                total += len(source)
        own = any(target is not source for source, target in zip(sources, targets, strict=True))
        self.source = torch.from_numpy(np.concatenate(sources))
        self.target = torch.from_numpy(np.concatenate(targets)) if own else None
        self._rows = [[rows[id(source), id(target)] for source, target in group] for group in groups]

    def _measure(self, groups: list[list[_Pair]]) -> None:
        """Take the statistics."""
        signal, noise, corruption = self._by_role([[source for source, _ in group] for group in groups])
        mean, variance = _mixture([*signal, *corruption])
        self.mean, self.std = torch.from_numpy(mean).float(), _floored(np.sqrt(variance))
        mean, variance = _mixture(noise) if noise else (np.zeros(self.bins), np.zeros(self.bins))
        self.noise_mean_square = torch.from_numpy(mean**2 + variance).float()

    def _plan(self, frames: int, batch: int, noise_only: float, seed: int) -> None:
        """Number the crops of all recordings, and prepare to draw."""
        # Plain numbers, whatever kind was given: the fingerprint goes into a file.
        self.frames, self.batch, self.seed = int(frames), int(batch), int(seed)
        self.noise_only = float(noise_only)
        self.noise_items = round(batch * noise_only)
        crops = [len(rows) - self.frames + 1 for group in self._rows for rows in group]
        self.starts_before = np.cumsum([0, *crops[:-1]])
        self.shift = np.array([rows.start for group in self._rows for rows in group]) - self.starts_before
        self.group_starts = np.array([sum(len(rows) - self.frames + 1 for rows in group) for group in self._rows])
        self.group_first = np.cumsum([0, *self.group_starts[:-1]])
        if self.group_starts.max() >= 2**32:
            raise UserError("a group has 2**32 crops or more, more than a draw can reach; split it into two")
        self._plan_draws()

    def _plan_draws(self) -> None:
        """List the (item, group) pairs of a step, in the order of `starts_at`."""
        noise = [(i, self._signal_groups + g) for g in range(self._noise_groups) for i in range(self.noise_items)]
        signal = [(i, g) for g in range(self._signal_groups) for i in range(self.noise_items, self.batch)]
        first = self._signal_groups + self._noise_groups
        corruption = [(i, first + g) for g in range(self._corruption_groups) for i in range(self.batch)]
        pairs = np.array(noise + signal + corruption, dtype=np.uint64)
        self._items, self._group_of = pairs[:, 0], pairs[:, 1].astype(np.int64)
        self._drawn, self._drawn_from = np.empty((0, 0), dtype=np.int64), -1
        self._offsets = torch.arange(self.frames, device=self.source.device)
        self._noise_flags = (torch.arange(self.batch, device=self.source.device) < self.noise_items).float()

    def _draw(self, first: int, steps: int) -> np.ndarray:
        """Rows of `source`, (steps, pairs), for the steps from `first` on."""
        words = first_word(
            self.seed,
            np.arange(first, first + steps, dtype=np.uint64)[:, None],
            self._items[None, :],
            self._group_of[None, :].astype(np.uint64),
        )
        within = (words * self.group_starts[self._group_of].astype(np.uint64)) >> np.uint64(32)
        crops = within.astype(np.int64) + self.group_first[self._group_of]
        return crops + self.shift[np.searchsorted(self.starts_before, crops, side="right") - 1]

    def _mix(self, starts: np.ndarray, recordings: torch.Tensor, out: torch.Tensor, onto: bool = False) -> None:
        """Fill `out` (items, frames, bins) with sums of the crops that start at `starts` (groups, items).

        `recordings` is `source` or `target`. With `onto` the crops are added to what `out` holds.
        """
        if recordings.is_cpu and recordings.dtype == torch.float32:
            # By NumPy: an index of PyTorch's wakes OpenMP, whose threads then spin on cores that the kernels need.
            source, crops = recordings.numpy(), out.numpy()
            for group, starts_of_group in enumerate(starts.tolist()):
                for crop, start in zip(crops, starts_of_group, strict=True):
                    if group == 0 and not onto:
                        crop[:] = source[start : start + self.frames]
                    else:
                        crop += source[start : start + self.frames]
            return
        rows = torch.from_numpy(starts).to(recordings.device)[:, :, None] + self._offsets
        flat = out.view(-1, self.bins)
        for i, group in enumerate(rows):
            crops = recordings.index_select(0, group.reshape(-1))
            if i == 0 and not onto:
                flat.copy_(crops)
            else:
                flat += crops


def check_settings(
    signal: Sequence[Group], noise: Sequence[Group], frames: int, batch: int, noise_only: float, seed: int
) -> None:
    if frames < 1 or batch < 1:
        raise UserError(f"frames {frames} and batch {batch} must be at least 1")
    if not 0 <= noise_only <= 1:
        raise UserError(f"noise_only {noise_only} is out of range; it is a share of the batch, from 0 to 1")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed} is out of range; give one from 0 to 2**64 - 1")
    if not len(signal):
        raise UserError("signal has no group; give at least one list of recordings")
    if not len(noise) and noise_only > 0:
        raise UserError("noise has no group, so there is nothing noise-only; give noise, or noise_only=0")
    if noise_only > 0 and round(batch * noise_only) == 0:
        logger.warning("batch %d * noise_only %g rounds to 0: no item will be noise-only", batch, noise_only)


def _check_corruption(corruption: Sequence[Group]) -> None:
    for g, group in enumerate(corruption):
        for i, recording in enumerate(group):
            if _is_pair(recording):
                raise UserError(
                    f"corruption[{g}] recording {i} has a target; corruption is in no target: give the recording alone"
                )


def _is_pair(recording: Recording) -> bool:
    return isinstance(recording, tuple) and len(recording) == 2


def _kept(name: str, group: Group, frames: int) -> list[_Pair]:
    """The recordings of a group that are long enough for a crop, and their targets, checked, float32."""
    if not len(group):
        raise UserError(f"{name} has no recording; give at least one")
    recordings = [_paired(f"{name} recording {i}", recording) for i, recording in enumerate(group)]
    longest = max(len(source) for source, _ in recordings)
    if longest < frames:
        raise UserError(
            f"{name}: the longest recording has {longest} frames and a crop has {frames}; "
            "give longer recordings or fewer frames"
        )
    kept = [pair for pair in recordings if len(pair[0]) >= frames]
    if len(kept) < len(recordings):
        logger.warning(
            "%s: %d of %d recordings are shorter than %d frames: left out",
            name,
            len(recordings) - len(kept),
            len(recordings),
            frames,
        )
    return kept


def _paired(name: str, recording: Recording) -> _Pair:
    """The recording and its target."""
    source, target = recording if _is_pair(recording) else (recording, recording)
    checked = _checked(name, source)
    if target is source:
        return checked, checked
    wanted = _checked(f"{name}'s target", target)
    if wanted.shape != checked.shape:
        raise UserError(f"{name} has shape {checked.shape} and its target {wanted.shape}; give both the same")
    return checked, wanted


def _checked(name: str, recording: Any) -> np.ndarray:
    """The recording as float32 (T, bins); itself where it is that already."""
    values = recording.detach().cpu().numpy() if isinstance(recording, torch.Tensor) else np.asarray(recording)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UserError(
            f"{name} has shape {values.shape}, wanted (frames, bins); a group is a list of recordings, "
            "each alone or in a tuple with its target"
        )
    if np.iscomplexobj(values):
        raise UserError(f"{name} is complex; give its magnitude")
    values = np.ascontiguousarray(values, dtype=np.float32)
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if np.isnan(low) or np.isinf(low) or np.isinf(high):  # the minimum is NaN where anything is
        raise UserError(f"{name} has NaN or infinite magnitudes; repair or leave out that recording")
    if low < 0:
        raise UserError(f"{name} has negative magnitudes, the lowest {low:g}; give magnitudes, not decibels")
    return values


def _check_bins(names: list[str], groups: list[list[_Pair]]) -> None:
    bins = groups[0][0][0].shape[1]
    for name, group in zip(names, groups, strict=True):
        for recording, _ in group:
            if recording.shape[1] != bins:
                raise UserError(
                    f"{name} has a recording of {recording.shape[1]} bins and {names[0]} has {bins}; "
                    "make all spectrograms with the same settings"
                )


def _mixture(groups: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (bins,) float64 of the sum of independent crops: means add, and so do variances."""
    means, variances = zip(*map(_moments, groups), strict=True)
    return np.sum(means, axis=0), np.sum(variances, axis=0)


def _moments(group: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    count = sum(map(len, group))
    mean = np.sum([chunk.sum(axis=0) for chunk in _chunks(group)], axis=0) / count
    squares = [((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(group)]
    return mean, np.sum(squares, axis=0) / count


def _chunks(group: list[np.ndarray]) -> Iterator[np.ndarray]:
    """All frames of a group in float64, some at a time."""
    for recording in group:
        for first in range(0, len(recording), _CHUNK):
            yield recording[first : first + _CHUNK].astype(np.float64)


def _floored(std: np.ndarray) -> torch.Tensor:
    if not std.any():
        raise UserError("every bin of the signal is constant, as in silence; there is nothing to learn from")
    return torch.from_numpy(np.maximum(std, 1e-3 * std.mean())).float()
