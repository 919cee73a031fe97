"""Tiles (points, numbers) of embeddings and their unit vectors, for the Triton kernels."""

from ..embeddings import EPSILON as _EPSILON
from ..registry import BackendUnavailable
from .common import power_of_two, tl, triton

EPSILON = tl.constexpr(_EPSILON)
SERIES_BELOW = tl.constexpr(0.3)  # here the series of tanh is exact to 1e-7, and 1 - exp(-2x) would lose bits
SIZE_MAX = 128


@triton.jit
def squash(x):
    """Return tanh(x) with a relative error below 5e-7."""
    u = x * x
    series = 1.0 + u * (-1.0 / 3 + u * (2.0 / 15 + u * (-17.0 / 315 + u * (62.0 / 2835))))
    decay = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - decay) / (1.0 + decay)
    return tl.where(u < SERIES_BELOW * SERIES_BELOW, x * series, tl.where(x < 0, -far, far))


@triton.jit
def inverse_length(squashed):
    """Return 1 / |tanh(e)| of each row."""
    return 1.0 / tl.sqrt(tl.sum(squashed * squashed, axis=1) + EPSILON)


def tile_of(size: int, least: int = 1) -> dict[str, int]:
    """Return block sizes of points and numbers, and warps: 1024 numbers or more, at most 8 for each thread.

    With more numbers, products of float32 without tensor cores spill registers.
    """
    if size > SIZE_MAX:
        raise BackendUnavailable(
            f"embeddings have {size} numbers and triton takes at most {SIZE_MAX}; use backend='eager'"
        )
    block_d = power_of_two(size, least, SIZE_MAX)
    # Loads in advance would take registers too.
    return {"BLOCK_P": max(16, 1024 // block_d), "BLOCK_D": block_d, "num_warps": max(4, block_d // 8), "num_stages": 1}
