"""The maximum over a pool window and its position, in Triton: floats as integer keys, so one maximum gives both."""

from .common import tl, triton

NAN_KEY = tl.constexpr(0x7FC00000)  # the bits of a NaN: above those of infinity
LOWEST_KEY = tl.constexpr(-0x80000000)  # below the key of any number


@triton.jit
def ordered(bits):
    """Return a float's bits as an integer with the order of floats; the function is its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def chunk_of(pool: int) -> int:
    """Return BLOCK_P: the largest power of two <= 64 whose multiples cover `pool` with at most a quarter to spare."""
    return max(p for p in (1, 2, 4, 8, 16, 32, 64) if 4 * p * -(-pool // p) <= 5 * pool)
