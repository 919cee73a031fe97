"""Arithmetic on shapes, and the check of positions, that several ops share."""

import torch
from torch import Tensor


def window_count(frames: int, pool: int) -> int:
    """How many pool windows cover `frames` frames; the last may be short."""
    return -(-frames // pool)


def pool_range(frames: int, windows: int) -> tuple[int, int]:
    """The smallest and the largest pool that cut `frames` frames into `windows` windows.

    Decode is not told the pool. Whatever it was, the position of window p lies in [p * smallest, (p + 1) * largest),
    so an implementation knows which windows can reach a frame. Raises ValueError where no pool gives that count.

    >>> pool_range(512, 32)
    (16, 16)
    """
    smallest = -(-frames // windows)
    if window_count(frames, smallest) != windows:
        raise ValueError(f"no pool cuts {frames} frames into {windows} windows; give decode the frames that encode saw")
    largest = frames if windows == 1 else (frames - 1) // (windows - 1)
    return smallest, largest


def checked_pools(positions: Tensor, frames: int) -> tuple[int, int]:
    """`pool_range` of positions (B, W, K) in CPU memory; ValueError where one is not in its window."""
    windows = positions.shape[1]
    smallest, largest = pool_range(frames, windows)
    p = torch.arange(windows)
    low, high = p * smallest, ((p + 1) * largest).clamp(max=frames)
    wrong = (positions.amin((0, 2)) < low) | (positions.amax((0, 2)) >= high)
    if wrong.any():
        window = int(wrong.nonzero()[0])
        seen = positions[:, window].unique().tolist()
        raise ValueError(
            f"positions[:, {window}] hold frames {seen[0]} to {seen[-1]}, and window {window} of {windows} over"
            f" {frames} frames can only hold {int(low[window])} to {int(high[window]) - 1};"
            " give decode the positions that encode returned"
        )
    return smallest, largest


def no_positions(x: Tensor) -> Tensor:
    """Return the positions of windows of one place each, of a map x: an empty tensor, as there is nothing to tell."""
    return x.new_empty(0, dtype=torch.int32)
