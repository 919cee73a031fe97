"""Arithmetic on shapes that several ops share."""


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
        raise ValueError(
            f"no pool cuts {frames} frames into {windows} windows; give decode the frames that encode saw"
        )
    largest = frames if windows == 1 else (frames - 1) // (windows - 1)
    return smallest, largest
