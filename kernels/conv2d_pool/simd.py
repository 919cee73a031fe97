"""Vector code of conv2d_pool: products of runs and filters, each sum offered to its pool window."""

from numba.core import types
from numba.extending import intrinsic

from .._cpu.simd import Emitter, offer
from .._cpu.simd_maps import BLOCK, in_blocks, sums


@intrinsic
def offer_sums(typingctx, best, where, slots, number, x, i, rows, row_stride, step, panel, w, length, n, vectors):
    """Convolve `n` positions with `vectors` vectors of filters; offer each sum to its window.

    z is that of `store_sums`, without a bias. best and where are (windows, Q): best[slots[f], q] becomes z[f, q], and
    where[slots[f], q] becomes number + f, if z is larger or NaN, for f in order.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    width = vectors.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, x)
        places = emit.data(best, args[0]), emit.data(where, args[1]), emit.data(slots, args[2])
        source, weights = emit.data(x, args[4]), emit.data(panel, args[9])
        number, (i, rows, row_stride, step), (w, length, n) = args[3], args[5:9], args[10:13]
        start = [emit.zero(emit.vector)] * width

        def body(h, count):
            at, shape = builder.add(i, builder.mul(h, step)), (rows, row_stride, step, length)
            z = sums(emit, source, at, shape, weights, w, width, start, count)
            offer(emit, z, places, h, builder.add(number, h), width)

        in_blocks(emit, n, BLOCK[width], body)  # a sum that is offered twice changes nothing
        return context.get_dummy_value()

    at = types.intp
    return types.void(best, where, slots, at, x, at, at, at, at, panel, at, at, at, vectors), codegen
