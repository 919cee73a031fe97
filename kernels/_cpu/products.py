"""Matrix products on the CPU, by tiles that stay in vector registers: the inner loops, written as LLVM IR.

The library's own products are as fast, but sum in an order that depends on the number of threads, and leave OpenMP's
threads spinning on the cores that the next kernel needs. Here every number is one sum in order of k, cut into CHUNKs
alone, whichever tile it lies in.

A product a @ b is made a panel at a time: COLUMNS of b, copied so that row k of the panel is contiguous. All arrays are
flat here, and offsets and steps in elements; none is checked.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from .jit import kernel
from .simd import CHUNK, INTP, REGISTERS, VECTOR_BYTES, Emitter

ROWS = 12 if REGISTERS == 32 else 6  # ROWS * VECTORS accumulators
VECTORS = 2


def columns(itemsize: int) -> int:
    """The width of a panel of numbers of so many bytes."""
    return VECTORS * VECTOR_BYTES // itemsize


@intrinsic
def _add_products(typingctx, out, o, out_step, a, i, rows, row_step, k_step, panel, p, length, first):
    """out[o + r * out_step + q] += sum over k < length of a[i + r * row_step + k * k_step] * panel[p + k * Q + q].

    r < ROWS and q < Q, the panel's width; rows of `a` past `rows` are taken to be its last. Where `first` is true the
    sum replaces what is there.
    """

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, out)
        target, source, weights = emit.data(out, args[0]), emit.data(a, args[3]), emit.data(panel, args[8])
        o, out_step, i, rows, row_step, k_step = args[1], args[2], args[4], args[5], args[6], args[7]
        p, length, fresh = args[9], args[10], args[11]
        constant = lambda value: ir.Constant(INTP, value)  # noqa: E731
        last = builder.sub(rows, constant(1))
        starts = []
        for r in range(ROWS):
            row = builder.select(builder.icmp_signed("<", constant(r), last), constant(r), last)
            starts.append(builder.gep(source, [builder.add(i, builder.mul(row, row_step))]))
        grid = [(r, v) for r in range(ROWS) for v in range(VECTORS)]
        sums = {place: emit.variable(emit.zero(emit.vector)) for place in grid}
        with emit.loop(constant(0), length, 1) as (k, _):
            at = builder.add(p, builder.mul(k, constant(VECTORS * emit.lanes)))
            row = [emit.load(weights, place, emit.vector) for place in emit.offsets(at, [emit.vector] * VECTORS)]
            step = builder.mul(k, k_step)
            for r in range(ROWS):
                height = emit.spread(emit.load(starts[r], step, emit.scalar), emit.vector)
                for v in range(VECTORS):
                    builder.store(emit.add_product(builder.load(sums[r, v]), height, row[v]), sums[r, v])
        with builder.if_else(fresh) as (replace, add):
            for branch, old in ((replace, False), (add, True)):
                with branch:
                    for r, v in grid:
                        at = builder.add(o, builder.add(builder.mul(out_step, constant(r)), constant(v * emit.lanes)))
                        total = builder.load(sums[r, v])
                        total = builder.fadd(emit.load(target, at, emit.vector), total) if old else total
                        emit.store(total, target, at)
        return context.get_dummy_value()

    n = types.intp
    return types.void(out, n, n, a, n, n, n, n, panel, n, n, types.boolean), codegen


@intrinsic
def _copy_rows(typingctx, panel, p, source, s, step, count):
    """panel[p + k * Q + q] = source[s + k * step + q] for k < count, q < Q."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, panel)
        target, origin = emit.data(panel, args[0]), emit.data(source, args[2])
        with emit.loop(ir.Constant(INTP, 0), args[5], 1) as (k, _):
            there = builder.add(args[1], builder.mul(k, ir.Constant(INTP, VECTORS * emit.lanes)))
            here = builder.add(args[3], builder.mul(k, args[4]))
            kinds = [emit.vector] * VECTORS
            for a, b in zip(emit.offsets(there, kinds), emit.offsets(here, kinds), strict=True):
                emit.store(emit.load(origin, b, emit.vector), target, a)
        return context.get_dummy_value()

    n = types.intp
    return types.void(panel, n, source, n, n, n), codegen


@kernel
def multiply(out, o, out_step, a, i, rows, row_step, k_step, panel, p, width, length):
    """out[o + r * out_step + q] = sum over k < length of a[i + r * row_step + k * k_step] * panel[p + k * width + q].

    All ROWS rows and `width` columns of the tile are written; of `a`, rows past `rows` are not read.
    """
    for k in range(0, length, CHUNK):
        count = min(CHUNK, length - k)
        _add_products(out, o, out_step, a, i + k * k_step, rows, row_step, k_step, panel, p + k * width, count, k == 0)


@kernel
def fill_panel(panel, source, s, step, count, width, wanted):
    """panel[k * width + q] = source[s + k * step + q] for k < count and q < wanted; zeros for wanted <= q < width."""
    if wanted == width:
        _copy_rows(panel, 0, source, s, step, count)
        return
    for k in range(count):
        for q in range(width):
            panel[k * width + q] = source[s + k * step + q] if q < wanted else 0
