"""Crops and mixtures for training: which frames of which recordings make up an item of a step.

A group is a list of recordings, each a magnitude spectrogram (T, H). A signal-plus-noise item is the sum of
one random crop of each group in `signal`, a noise-only item the sum of one crop of each group in `noise`.
Items 0 .. round(batch * noise_only) - 1 are noise-only. That sum is the item's target; its input is the sum and
one crop of each group in `corruption`. A recording may come with a target of its own, of its shape: a tuple of the two.
Then the recording is in the input's sum, and the same frames of its target in the target's. Groups are numbered through
`signal`, then `noise`, then `corruption`; the draw for (step, item, group) is uniform over all T - frames + 1 starts of
the group's recordings, laid end to end. A recording shorter than a crop has no start.
"""

from collections.abc import Sequence

import numpy as np

from .philox import Array, draw

Pair = tuple[Array, Array]  # a recording and its target
Group = Sequence[Array | Pair]


def noise_items(batch: int, noise_only: float) -> int:
    """How many items of a batch are noise-only; a half rounds to the even number."""
    return round(batch * noise_only)


def locate(start: int, lengths: list[int], frames: int) -> tuple[int, int]:
    """Recording and first frame of crop number `start` of a group whose recordings have these lengths."""
    for recording, length in enumerate(lengths):
        starts = max(length - frames + 1, 0)
        if start < starts:
            return recording, start
        start -= starts
    raise IndexError("start is past the last crop of the group")


def inputs(group: Group) -> list[Array]:
    """The recordings of a group, without their targets."""
    return [recording[0] if isinstance(recording, tuple) else recording for recording in group]


def targets(group: Group) -> list[Array]:
    """What is to come out of each recording of a group; itself where it has no target of its own."""
    return [recording[1] if isinstance(recording, tuple) else recording for recording in group]


def crop(group: list[Array], number: int, seed: int, step: int, item: int, frames: int) -> Array:
    """The crop (frames, H) of the group with this number that the item of the step gets."""
    lengths = [len(recording) for recording in group]
    count = sum(max(length - frames + 1, 0) for length in lengths)
    recording, first = locate(draw(seed, step, item, number, count), lengths, frames)
    return np.asarray(group[recording][first : first + frames], dtype=np.float64)


def target_at(
    signal: Sequence[Group], noise: Sequence[Group], frames: int, batch: int, noise_only: float, seed: int, step: int
) -> Array:
    """What a model is to make of the batch of a step: (batch, frames, H)."""
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
    """The items of a step (batch, frames, H): each the sum of one crop of each of its groups."""
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
    """The batch of a step: x (batch, frames, H), and noise_only (batch,), 1 for noise-only items."""
    x = mixtures(list(map(inputs, signal)), list(map(inputs, noise)), frames, batch, noise_only, seed, step)
    for number, group in enumerate(corruption, start=len(signal) + len(noise)):
        x += [crop(group, number, seed, step, item, frames) for item in range(batch)]
    return x, (np.arange(batch) < noise_items(batch, noise_only)).astype(np.float64)


def mixture(groups: Sequence[Group], frames: int) -> tuple[Array, Array]:
    """Mean and variance (H,) per bin of the sum of independent crops: means add, and so do variances.

    Over all frames of the recordings, not of their targets, that are long enough to give a crop.
    """
    kept = [np.concatenate([r for r in inputs(g) if len(r) >= frames]).astype(np.float64) for g in groups]
    return sum(g.mean(axis=0) for g in kept), sum(g.var(axis=0) for g in kept)


def statistics(signal: Sequence[Group], frames: int, corruption: Sequence[list[Array]] = ()) -> tuple[Array, Array]:
    """mean and std (H,) for normalising inputs; std no lower than a thousandth of its mean over the bins."""
    mean, variance = mixture([*signal, *corruption], frames)
    std = np.sqrt(variance)
    return mean, np.maximum(std, 1e-3 * std.mean())


def noise_mean_square(noise: Sequence[Group], frames: int) -> Array:
    """Mean (H,) of the squared magnitude of the noise groups' mixture."""
    mean, variance = mixture(noise, frames)
    return mean**2 + variance
