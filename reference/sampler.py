"""Random crops and mixtures: the frames of recordings that make up each item of a training step.

A group is a list of recordings, each a magnitude spectrogram (T, H), or a tuple (recording, target) of one shape. A
signal-plus-noise item is the sum of one random crop of each group in `signal`, a noise-only item the sum of one crop of
each group in `noise`; items 0 .. round(batch * noise_only) - 1 are noise-only. The item's target is that sum, with the
target in place of each recording that has one. Its input is the sum plus one crop of each group in `corruption`.

Groups are numbered through `signal`, `noise` and `corruption`. The draw for (step, item, group) is uniform over the
T - frames + 1 starts of all recordings of the group, end to end. A recording shorter than a crop has no start.
"""

from collections.abc import Sequence

import numpy as np

from .philox import Array, draw

Pair = tuple[Array, Array]  # a recording and its target
Group = Sequence[Array | Pair]


def noise_items(batch: int, noise_only: float) -> int:
    """Return the number of noise-only items in a batch; halves round to even."""
    return round(batch * noise_only)


def locate(start: int, lengths: list[int], frames: int) -> tuple[int, int]:
    """Return the recording and first frame of crop number `start` in a group of recordings of these lengths."""
    for recording, length in enumerate(lengths):
        starts = max(length - frames + 1, 0)
        if start < starts:
            return recording, start
        start -= starts
    raise IndexError("start is past the last crop of the group")


def inputs(group: Group) -> list[Array]:
    """Return the recordings of a group, without targets."""
    return [recording[0] if isinstance(recording, tuple) else recording for recording in group]


def targets(group: Group) -> list[Array]:
    """Return the target of each recording of a group: the recording itself if it has none."""
    return [recording[1] if isinstance(recording, tuple) else recording for recording in group]


def crop(group: list[Array], number: int, seed: int, step: int, item: int, frames: int) -> Array:
    """Return the crop (frames, H) of group `number` for an item of a step."""
    lengths = [len(recording) for recording in group]
    count = sum(max(length - frames + 1, 0) for length in lengths)
    recording, first = locate(draw(seed, step, item, number, count), lengths, frames)
    return np.asarray(group[recording][first : first + frames], dtype=np.float64)


def target_at(
    signal: Sequence[Group], noise: Sequence[Group], frames: int, batch: int, noise_only: float, seed: int, step: int
) -> Array:
    """Return the targets (batch, frames, H) of a step."""
    return mixtures(list(map(targets, signal)), list(map(targets, noise)), frames, batch, noise_only, seed, step)


def mixtures(
    signal: list[list[Array]],
    noise: list[list[Array]],
    frames: int,
    batch: int,
    noise_only: float,
    seed: int,
    step: int,
) -> Array:
    """Return the items (batch, frames, H) of a step: each is the sum of one crop of each of its groups."""
    silent = noise_items(batch, noise_only)
    items = []
    for item in range(batch):
        first, groups = (len(signal), noise) if item < silent else (0, signal)
        items.append(sum(crop(g, first + i, seed, step, item, frames) for i, g in enumerate(groups)))
    return np.stack(items)


def batch_at(
    signal: Sequence[Group],
    noise: Sequence[Group],
    frames: int,
    batch: int,
    noise_only: float,
    seed: int,
    step: int,
    corruption: Sequence[list[Array]] = (),
) -> tuple[Array, Array]:
    """Return the batch of a step: x (batch, frames, H) and noise_only (batch,), 1 for noise-only items."""
    x = mixtures(list(map(inputs, signal)), list(map(inputs, noise)), frames, batch, noise_only, seed, step)
    for number, group in enumerate(corruption, start=len(signal) + len(noise)):
        x += [crop(group, number, seed, step, item, frames) for item in range(batch)]
    return x, (np.arange(batch) < noise_items(batch, noise_only)).astype(np.float64)


def mixture(groups: Sequence[Group], frames: int) -> tuple[Array, Array]:
    """Return mean and variance (H,) of the sum of independent crops: means add, and so do variances.

    They are over all frames of the recordings that are as long as a crop, without targets.
    """
    kept = [np.concatenate([r for r in inputs(g) if len(r) >= frames]).astype(np.float64) for g in groups]
    return sum(g.mean(axis=0) for g in kept), sum(g.var(axis=0) for g in kept)


def statistics(signal: Sequence[Group], frames: int, corruption: Sequence[list[Array]] = ()) -> tuple[Array, Array]:
    """Return mean and std (H,) that normalise inputs; std is at least a thousandth of its mean over the bins."""
    mean, variance = mixture([*signal, *corruption], frames)
    std = np.sqrt(variance)
    return mean, np.maximum(std, 1e-3 * std.mean())


def noise_mean_square(noise: Sequence[Group], frames: int) -> Array:
    """Return the mean (H,) of the squared magnitude of the mixture of the noise groups."""
    mean, variance = mixture(noise, frames)
    return mean**2 + variance
