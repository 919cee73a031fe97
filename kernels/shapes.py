"""Arithmetic on shapes, and the check of positions, that several ops share."""

import torch
from torch import Tensor


def window_count(frames: int, pool: int) -> int:
    """Return the number of pool windows over `frames` frames; the last may be short."""
    return -(-frames // pool)


def pool_range(frames: int, windows: int) -> tuple[int, int]:
    """Return the smallest and the largest pool that cut `frames` frames into `windows` windows.

    Decode does not take the pool as an argument. For every pool in this range the position of window p lies in
    [p * smallest, (p + 1) * largest), which bounds the windows that can reach a frame. Raises ValueError if no pool
    gives that count.

    >>> pool_range(512, 32)
    (16, 16)
    """
    smallest = -(-frames // windows)
    if window_count(frames, smallest) != windows:
        raise ValueError(f"no pool cuts {frames} frames into {windows} windows; give decode the frames that encode saw")
    largest = frames if windows == 1 else (frames - 1) // (windows - 1)
    return smallest, largest


def checked_pools(positions: Tensor, frames: int) -> tuple[int, int]:
    """Return `pool_range` of positions (B, W, K) in CPU memory; raise ValueError if one is outside its window."""
    windows = positions.shape[1]
    smallest, largest = pool_range(frames, windows)
    p = torch.arange(windows)
    low, high = p * smallest, ((p + 1) * largest).clamp(max=frames)
    wrong = (positions.amin((0, 2)) < low) | (positions.amax((0, 2)) >= high)
    if wrong.any():
        window = int(wrong.nonzero()[0])
        held = positions[:, window].unique().tolist()
        raise ValueError(
            f"positions[:, {window}] hold frames {held[0]} to {held[-1]}, and window {window} of {windows} over"
            f" {frames} frames can only hold {int(low[window])} to {int(high[window]) - 1};"
            " give decode the positions that encode returned"
        )
    return smallest, largest


def no_positions(x: Tensor) -> Tensor:
    """Return the positions of pool windows of size 1 x 1: an empty tensor, as every window has one position."""
    return x.new_empty(0, dtype=torch.int32)
