"""Random crops of spectrograms for training, drawn by a counter-based generator.

A batch depends only on the seed, the step and the recordings, so a resumed run continues from the step number alone and
a kernel can draw its own crops. `partae_fast.reference.sampler` is the reference.
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

Recording = Any  # an array or a tensor (frames, bins), or a tuple of two: a model's input and its target
Group = Sequence[Recording]
_Pair = tuple[np.ndarray, np.ndarray]  # a recording and its target; the same object if it is its own target

_CHUNK = 65536  # frames that are converted to float64 at a time
_LANES = 4096  # random words that are drawn in one call, for several steps


class CropSampler(BatchStream):
    """Batches of random crops of magnitude spectrograms, signal-plus-noise and noise-only.

    A signal-plus-noise item is the sum of one random crop of each group in `signal`, and a noise-only item is the sum
    of one crop of each group in `noise`. Items 0 .. round(batch * noise_only) - 1 are noise-only. One crop of each
    group in `corruption` is added to every item, but not to its target, which is what the model learns to output. A
    recording may have a target of its own, such as the clean part of a mixture; the target of an item is the sum of the
    same frames of the targets. All crops of a group are equally likely. Recordings shorter than `frames` are left out.

    Iteration yields x, noise_only and, if it differs from x, the target, of steps 0, 1, 2 and so on; see `BatchStream`.

    Args:
        signal: groups. A group is a list of recordings: arrays or tensors (T, bins) of magnitudes >= 0, or tuples of
            such a recording and its target of the same shape. A recording without a target is its own target.
        noise: groups; may be empty if `noise_only` is 0.
        frames: frames in a crop, at least 1.
        batch: items in a batch, at least 1.
        noise_only: share of the items that are noise-only, 0 to 1.
        seed: seed of the draws, 0 to 2**64 - 1.
        corruption: groups of recordings without targets, for denoising autoencoders; may be empty.

    Attributes:
        source: all recordings, (frames, bins).
        target: all targets, (frames, bins), or None if every recording is its own target.
        mean, std: (bins,) float32, of the expected sum of signal and corruption. Each std is at least 0.001 times the
            mean of std over bins.
        noise_mean_square: (bins,) float32, of the noise groups; zeros if there are none.

    Raises UserError, with the group and the recording, for empty groups, different numbers of bins, groups without a
    recording as long as a crop, targets of another shape, targets in `corruption`, and magnitudes that are negative,
    NaN or infinite; and for settings out of range.

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
        groups = self._checked_groups([*signal, *noise, *corruption], frames)
        self.bins = int(groups[0][0][0].shape[1])
        self._concatenate(groups)
        self._compute_statistics(groups)
        self._plan(frames, batch, noise_only, seed)

    @property
    def crops(self) -> Crops:
        """Recordings and draws, as `kernels.train_steps` takes them."""
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
        """Return x (batch, frames, bins) and noise_only (batch,) of a step, 0 <= step < 2**32.

        Both are float32, on the device of `source`; noise_only is 1 for noise-only items. With `items`, a range with
        step 1, only these items of the batch are made.
        """
        items = range(self.batch) if items is None else items
        x = self._mix_without_corruption(step, self.source, items)
        if self._corruption_groups:
            starts = self.starts_at(step)[-self._corruption_groups * self.batch :]
            starts = starts.reshape(self._corruption_groups, self.batch)
            self._mix(starts[:, items.start : items.stop], self.source, x, add=True)
        return x, self._noise_flags[items.start : items.stop].clone()

    def target_at(self, step: int, items: range | None = None) -> torch.Tensor:
        """Return the targets (batch, frames, bins) for the x of `batch_at(step, items)`."""
        items = range(self.batch) if items is None else items
        return self._mix_without_corruption(step, self.source if self.target is None else self.target, items)

    def training_batch(self, step: int) -> tuple[torch.Tensor, ...]:
        """Return x and noise_only of a step and, if it differs from x, the target."""
        batch = self.batch_at(step)
        return batch if self.crops.target_is_input else (*batch, self.target_at(step))

    def _mix_without_corruption(self, step: int, recordings: torch.Tensor, items: range) -> torch.Tensor:
        """Return the sums of signal or noise crops (items, frames, bins) from `recordings`, `source` or `target`."""
        starts, signal_items = self.starts_at(step), self.batch - self.noise_items
        noise_starts = self.noise_items * self._noise_groups
        noise = starts[:noise_starts].reshape(self._noise_groups, self.noise_items)
        signal = starts[noise_starts : noise_starts + self._signal_groups * signal_items]
        signal = signal.reshape(self._signal_groups, signal_items)
        first, last = items.start - self.noise_items, items.stop - self.noise_items  # indices of signal items
        selected = [noise[:, items.start : items.stop], signal[:, max(first, 0) : max(last, 0)]]
        mixtures = torch.empty((len(items), self.frames, self.bins), device=self.source.device)
        split = min(max(-first, 0), len(items))
        for out, crop_starts in zip((mixtures[:split], mixtures[split:]), selected, strict=True):
            if crop_starts.size:
                self._mix(crop_starts, recordings, out)
        return mixtures

    def starts_at(self, step: int) -> np.ndarray:
        """Return the rows of `source` where the crops of a step start, int64.

        They are ordered by role, group and item: noise groups with the noise-only items, signal groups with the other
        items, corruption groups with all items.
        """
        if not 0 <= step < 2**32:
            raise UserError(f"step {step} is out of range; steps are numbered from 0 to 2**32 - 1")
        steps = max(1, _LANES // len(self._items))
        first = step - step % steps
        if first != self._drawn_from:
            self._drawn, self._drawn_from = self._draw(first, steps), first
        return self._drawn[step - first]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "CropSampler":
        """Move the recordings to `device`, where batches are made from then on; return this sampler.

        `dtype` is the type of the stored recordings: float32, or bfloat16, which takes half the memory and has three
        digits; None keeps the type. Batches are float32. Only the back-ends triton and eager run whole training steps
        on bfloat16. Raises UserError for other types.
        """
        if dtype not in (None, torch.float32, torch.bfloat16):
            raise UserError(f"dtype is {dtype}; it must be torch.float32 or torch.bfloat16")
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
        """Return a sampler of the same recordings with other settings; None keeps a setting.

        Both samplers share `source`. Recordings that this sampler left out as too short are left out of the new one.
        Raises the errors of the constructor.
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
            groups = [[source[rows.start : rows.stop] for rows in group] for group in self._rows]
            groups = self._checked_groups(groups, frames)
            other._rows = [[rows for rows in group if len(rows) >= frames] for group in self._rows]
            other._compute_statistics(groups)
        other._plan(frames, batch, noise_only, seed)
        return other

    def fingerprint(self) -> dict[str, Any]:
        """Return the settings that determine the batches, and the SHA-256 of the recordings."""
        digest = hashlib.sha256()
        recordings = [self.source] if self.target is None else [self.source, self.target]
        values = [part.cpu().float().numpy() for part in recordings]
        for part in (self.starts_before, self.shift, self.group_first, *values):
            digest.update(np.ascontiguousarray(part).data)
        settings = {
            "seed": self.seed,
            "frames": self.frames,
            "batch": self.batch,
            "noise_only": self.noise_only,
            "bins": self.bins,
            "signal_groups": self._signal_groups,
            "noise_groups": self._noise_groups,
            "recordings_sha256": digest.hexdigest(),
        }
        if self._corruption_groups:  # older checkpoints do not have the key
            settings["corruption_groups"] = self._corruption_groups
        return settings

    def _by_role(self, groups: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Split a list with one entry per group into signal, noise and corruption."""
        first_corruption = self._signal_groups + self._noise_groups
        return groups[: self._signal_groups], groups[self._signal_groups : first_corruption], groups[first_corruption:]

    def _checked_groups(self, groups: Sequence[Group], frames: int) -> list[list[_Pair]]:
        """Return the recordings of each group that are long enough for a crop, with targets, checked, float32."""
        names = [f"signal[{i}]" for i in range(self._signal_groups)]
        names += [f"noise[{i}]" for i in range(self._noise_groups)]
        names += [f"corruption[{i}]" for i in range(self._corruption_groups)]
        kept = [_checked_group(name, group, frames) for name, group in zip(names, groups, strict=True)]
        _check_bins(names, kept)
        return kept

    def _concatenate(self, groups: list[list[_Pair]]) -> None:
        """Concatenate recordings into `source` and targets into `target`, each pair once, and keep their rows."""
        rows: dict[tuple[int, int], range] = {}
        sources, targets, total = [], [], 0
        for source, target in (pair for group in groups for pair in group):
            if (id(source), id(target)) not in rows:
                rows[id(source), id(target)] = range(total, total + len(source))
                sources.append(source)
                targets.append(target)
                total += len(source)
        has_targets = any(target is not source for source, target in zip(sources, targets, strict=True))
        self.source = torch.from_numpy(np.concatenate(sources))
        self.target = torch.from_numpy(np.concatenate(targets)) if has_targets else None
        self._rows = [[rows[id(source), id(target)] for source, target in group] for group in groups]

    def _compute_statistics(self, groups: list[list[_Pair]]) -> None:
        signal, noise, corruption = self._by_role([[source for source, _ in group] for group in groups])
        mean, variance = _mixture([*signal, *corruption])
        self.mean, self.std = torch.from_numpy(mean).float(), _floored(np.sqrt(variance))
        mean, variance = _mixture(noise) if noise else (np.zeros(self.bins), np.zeros(self.bins))
        self.noise_mean_square = torch.from_numpy(mean**2 + variance).float()

    def _plan(self, frames: int, batch: int, noise_only: float, seed: int) -> None:
        """Number the crops of all recordings, and prepare the draws."""
        # Python numbers, because the fingerprint is written as JSON.
        self.frames, self.batch, self.seed = int(frames), int(batch), int(seed)
        self.noise_only = float(noise_only)
        self.noise_items = round(batch * noise_only)
        crops = [len(rows) - self.frames + 1 for group in self._rows for rows in group]
        self.starts_before = np.cumsum([0, *crops[:-1]])
        self.shift = np.array([rows.start for group in self._rows for rows in group]) - self.starts_before
        self.group_starts = np.array([sum(len(rows) - self.frames + 1 for rows in group) for group in self._rows])
        self.group_first = np.cumsum([0, *self.group_starts[:-1]])
        if self.group_starts.max() >= 2**32:
            raise UserError("a group has 2**32 crops or more, which a 32-bit draw cannot reach; split it into two")
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
        """Return the rows of `source` where crops start, (steps, pairs), for the steps from `first` on."""
        words = first_word(
            self.seed,
            np.arange(first, first + steps, dtype=np.uint64)[:, None],
            self._items[None, :],
            self._group_of[None, :].astype(np.uint64),
        )
        within = (words * self.group_starts[self._group_of].astype(np.uint64)) >> np.uint64(32)
        crops = within.astype(np.int64) + self.group_first[self._group_of]
        return crops + self.shift[np.searchsorted(self.starts_before, crops, side="right") - 1]

    def _mix(self, starts: np.ndarray, recordings: torch.Tensor, out: torch.Tensor, add: bool = False) -> None:
        """Write the sums of the crops that start at `starts` (groups, items) to `out` (items, frames, bins).

        `recordings` is `source` or `target`. With `add`, the sums are added to `out`.
        """
        if recordings.is_cpu and recordings.dtype == torch.float32:
            # NumPy, because PyTorch's indexing wakes OpenMP threads, which then spin on cores that the kernels need.
            source, crops = recordings.numpy(), out.numpy()
            for group, starts_of_group in enumerate(starts.tolist()):
                for crop, start in zip(crops, starts_of_group, strict=True):
                    if group == 0 and not add:
                        crop[:] = source[start : start + self.frames]
                    else:
                        crop += source[start : start + self.frames]
            return
        rows = torch.from_numpy(starts).to(recordings.device)[:, :, None] + self._offsets
        flat = out.view(-1, self.bins)
        for i, group in enumerate(rows):
            crops = recordings.index_select(0, group.reshape(-1))
            if i == 0 and not add:
                flat.copy_(crops)
            else:
                flat += crops


def check_settings(
    signal: Sequence[Group], noise: Sequence[Group], frames: int, batch: int, noise_only: float, seed: int
) -> None:
    """Raise UserError if a setting of a `CropSampler` is out of range; log a warning if no item will be noise-only."""
    if frames < 1 or batch < 1:
        raise UserError(f"frames is {frames} and batch is {batch}; both must be at least 1")
    if not 0 <= noise_only <= 1:
        raise UserError(f"noise_only is {noise_only}; it must be a share of the batch, from 0 to 1")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed is {seed}; it must be from 0 to 2**64 - 1")
    if not len(signal):
        raise UserError("signal has no group; pass at least one list of recordings")
    if not len(noise) and noise_only > 0:
        raise UserError(f"noise has no group, but noise_only is {noise_only}; pass noise, or noise_only=0")
    if noise_only > 0 and round(batch * noise_only) == 0:
        logger.warning("batch %d * noise_only %g rounds to 0: no item will be noise-only", batch, noise_only)


def _check_corruption(corruption: Sequence[Group]) -> None:
    for g, group in enumerate(corruption):
        for i, recording in enumerate(group):
            if _is_pair(recording):
                raise UserError(
                    f"corruption[{g}] recording {i} has a target; corruption is not part of targets: pass the "
                    "recording without one"
                )


def _is_pair(recording: Recording) -> bool:
    return isinstance(recording, tuple) and len(recording) == 2


def _checked_group(name: str, group: Group, frames: int) -> list[_Pair]:
    """Return the recordings of a group that are long enough for a crop, with targets, checked, float32."""
    if not len(group):
        raise UserError(f"{name} has no recording; pass at least one")
    recordings = [_checked_pair(f"{name} recording {i}", recording) for i, recording in enumerate(group)]
    longest = max(len(source) for source, _ in recordings)
    if longest < frames:
        raise UserError(
            f"{name}: the longest recording has {longest} frames, but a crop has {frames}; "
            "pass longer recordings or reduce frames"
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


def _checked_pair(name: str, recording: Recording) -> _Pair:
    """Return the recording and its target, checked."""
    source, target = recording if _is_pair(recording) else (recording, recording)
    checked_source = _checked_recording(name, source)
    if target is source:
        return checked_source, checked_source
    checked_target = _checked_recording(f"{name}'s target", target)
    if checked_target.shape != checked_source.shape:
        raise UserError(
            f"{name} has shape {checked_source.shape} and its target {checked_target.shape}; they must be equal"
        )
    return checked_source, checked_target


def _checked_recording(name: str, recording: Any) -> np.ndarray:
    """Return the recording as a contiguous float32 array (T, bins), without a copy if it is one."""
    values = recording.detach().cpu().numpy() if isinstance(recording, torch.Tensor) else np.asarray(recording)
    if values.ndim != 2 or values.shape[1] == 0:
        raise UserError(
            f"{name} has shape {values.shape}; it must have shape (frames, bins): pass each group as a list of "
            "recordings, or of tuples of a recording and its target"
        )
    if np.iscomplexobj(values):
        raise UserError(f"{name} is complex; pass its magnitudes")
    values = np.ascontiguousarray(values, dtype=np.float32)
    low, high = (values.min(), values.max()) if len(values) else (0.0, 0.0)
    if np.isnan(low) or np.isinf(low) or np.isinf(high):  # the minimum is NaN if any value is
        raise UserError(f"{name} has NaN or infinite magnitudes; repair or leave out that recording")
    if low < 0:
        raise UserError(f"{name} has negative magnitudes, the lowest {low:g}; pass magnitudes, not decibels")
    return values


def _check_bins(names: list[str], groups: list[list[_Pair]]) -> None:
    bins = groups[0][0][0].shape[1]
    for name, group in zip(names, groups, strict=True):
        for recording, _ in group:
            if recording.shape[1] != bins:
                raise UserError(
                    f"{name} has a recording of {recording.shape[1]} bins, but {names[0]} has {bins}; "
                    "make all spectrograms with the same settings"
                )


def _mixture(groups: list[list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance (bins,) float64 of the sum of independent crops, one of each group."""
    means, variances = zip(*map(_moments, groups), strict=True)
    return np.sum(means, axis=0), np.sum(variances, axis=0)


def _moments(group: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the variance (bins,) of all frames of a group."""
    count = sum(map(len, group))
    mean = np.sum([chunk.sum(axis=0) for chunk in _chunks(group)], axis=0) / count
    squares = [((chunk - mean) ** 2).sum(axis=0) for chunk in _chunks(group)]
    return mean, np.sum(squares, axis=0) / count


def _chunks(group: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield all frames of a group in float64, in chunks."""
    for recording in group:
        for first in range(0, len(recording), _CHUNK):
            yield recording[first : first + _CHUNK].astype(np.float64)


def _floored(std: np.ndarray) -> torch.Tensor:
    """Return `std` with a minimum of 0.001 times its mean; raise UserError if it is all zeros."""
    if not std.any():
        raise UserError("every bin of the signal is constant, as in silence; pass recordings with sound")
    return torch.from_numpy(np.maximum(std, 1e-3 * std.mean())).float()
