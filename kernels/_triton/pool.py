"""The maximum over a pool window and its place, in Triton: floats as integer keys, so that one maximum finds both."""

from .common import tl, triton

NAN_KEY = tl.constexpr(0x7FC00000)  # the bits of a NaN: above those of infinity
LOWEST_KEY = tl.constexpr(-0x80000000)  # below the key of any number


@triton.jit
def ordered(bits):
    """A float's bits as an integer that orders as floats do; and back again."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def chunk_of(pool: int) -> int:
    """BLOCK_P: the largest power of two, up to 64, in whose steps a pool is covered with a quarter to spare or less."""
    return max(p for p in (1, 2, 4, 8, 16, 32, 64) if 4 * p * -(-pool // p) <= 5 * pool)
