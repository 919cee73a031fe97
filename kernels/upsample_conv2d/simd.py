"""Vector code of upsample_conv2d: gradients of a map, summed over the places that read one number."""

from numba.core import types
from numba.extending import intrinsic

from .._cpu.simd import Emitter
from .._cpu.simd_maps import constant, store_some


@intrinsic
def box_sums(typingctx, target, t, source, s, row_stride, q, filters):
    """target[t + (3 i + j) * filters + d] = sum over b < q of source[s + i * row_stride + (b + 1 - j) * filters + d]

    for i, j < 3 and d < filters. It may read a vector past the end of what it sums.
    """

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, source)
        y, x = emit.data(target, args[0]), emit.data(source, args[2])
        t, s, row_stride, q, filters = args[1], args[3], args[4], args[5], args[6]
        grid = [(i, j) for i in range(3) for j in range(3)]
        with emit.loop(constant(0), filters, emit.lanes) as (d, _):
            sums = {at: emit.variable(emit.zero(emit.vector)) for at in grid}
            with emit.loop(constant(0), q, 1) as (b, _):
                for i, j in grid:
                    column = builder.mul(builder.add(b, constant(1 - j)), filters)
                    at = builder.add(builder.add(s, d), builder.add(builder.mul(row_stride, constant(i)), column))
                    total = builder.fadd(builder.load(sums[i, j]), emit.load(x, at, emit.vector))
                    builder.store(total, sums[i, j])
            for place, at in enumerate(grid):
                there = builder.add(builder.add(t, d), builder.mul(filters, constant(place)))
                store_some(emit, builder.load(sums[at]), y, there, builder.sub(filters, d))
        return context.get_dummy_value()

    at = types.intp
    return types.void(target, at, source, at, at, at, at), codegen
