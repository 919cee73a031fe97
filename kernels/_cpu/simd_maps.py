"""Vector primitives for convolutions of maps, on flat storage by offset as in `simd`.

The channels of a map are contiguous, so the taps in one row of a filter meet one contiguous run. Filters lie in panels
of Q numbers: `vectors` (a literal) vectors of L lanes, with a filter in each lane.

    store_sums(...)       products of runs and filters, written to a map
    add_outer_products    the gradient of filters, summed over positions
    box_sums              the gradient of a map, summed over the positions that read one number
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .simd import INTP, REGISTERS, Emitter

INT32 = ir.IntType(32)
# Positions in a block, by the number of vectors of filters.
BLOCK = {1: 16, 2: 12, 3: 8} if REGISTERS == 32 else {1: 10, 2: 6, 3: 4}


def constant(value):
    return ir.Constant(INTP, value)


def in_blocks(emit, n, block, body):
    """Emit body(first, count) for the positions below n, `block` at a time, or one at a time if n < block.

    The last block may overlap the previous one.
    """
    builder = emit.builder
    whole = builder.icmp_signed(">=", n, constant(block))
    with emit.loop(constant(0), builder.select(whole, n, constant(0)), block) as (h, _):
        last = builder.sub(n, constant(block))
        body(builder.select(builder.icmp_signed("<", h, last), h, last), block)
    with emit.loop(constant(0), builder.select(whole, constant(0), n), 1) as (h, _):
        body(h, 1)


def sums(emit, x, i, shape, panel, w, vectors, start, count):
    """Return the sums of a block of `count` positions. With rows, row_stride, step, length = shape, and q in vector v:

    z[f, v] = start[v] + sum over r < rows, j < length of
              x[i + f * step + r * row_stride + j] * panel[w + (r * length + j) * Q + q]
    """
    builder, (rows, row_stride, step, length) = emit.builder, shape
    width = constant(vectors * emit.lanes)
    starts = [builder.add(i, builder.mul(step, constant(f))) for f in range(count)]
    totals = {(f, v): emit.variable(start[v]) for f in range(count) for v in range(vectors)}
    with emit.loop(constant(0), rows, 1) as (r, _):
        shift = builder.mul(r, row_stride)
        runs = [builder.add(at, shift) for at in starts]
        first = builder.add(w, builder.mul(builder.mul(r, length), width))
        with emit.loop(constant(0), length, 1) as (j, _):
            row = builder.add(first, builder.mul(j, width))
            columns = [
                emit.load(panel, builder.add(row, constant(v * emit.lanes)), emit.vector) for v in range(vectors)
            ]
            for f in range(count):
                number = emit.spread(emit.load(x, builder.add(runs[f], j), emit.scalar), emit.vector)
                for v in range(vectors):
                    total = emit.add_product(builder.load(totals[f, v]), number, columns[v])
                    builder.store(total, totals[f, v])
    return {at: builder.load(total) for at, total in totals.items()}


def store_some(emit, value, base, offset, lanes):
    """Store the first `lanes` lanes of a vector, or all if it has fewer."""
    builder = emit.builder
    numbers = ir.Constant(ir.VectorType(INT32, emit.lanes), list(range(emit.lanes)))
    many = builder.select(builder.icmp_signed("<", lanes, constant(emit.lanes)), lanes, constant(emit.lanes))
    limit = builder.insert_element(ir.Constant(numbers.type, ir.Undefined), builder.trunc(many, INT32), INT32(0))
    limit = builder.shuffle_vector(limit, limit, ir.Constant(numbers.type, [0] * emit.lanes))
    mask = builder.icmp_signed("<", numbers, limit)
    address = builder.bitcast(builder.gep(base, [offset]), emit.vector.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [emit.vector, address.type, INT32, mask.type])
    name = f"llvm.masked.store.v{emit.lanes}f{emit.size * 8}.p0"
    store = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(store, [value, address, INT32(emit.size), mask])


@intrinsic
def store_sums(
    typingctx, out, o, stride, filters, copies, pixel, bias, b, floor, x, i, rows, row_stride, step, panel, w, length,
    n, vectors,
):  # fmt: skip
    """Convolve `n` positions with `vectors` vectors of filters, rectify at `floor` and write to a map.

        z[f, q] = bias[b + q] + sum over r < rows, j < length of
                  x[i + f * step + r * row_stride + j] * panel[w + (r * length + j) * Q + q]
        out[o + f * stride + c * pixel + q] = max(z[f, q], floor),   f < n, q < min(filters, Q), c < copies

    A NaN stays.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    width = vectors.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, x)
        target, offsets = emit.data(out, args[0]), emit.data(bias, args[6])
        source, weights = emit.data(x, args[9]), emit.data(panel, args[14])
        (o, stride, filters, copies, pixel), b = args[1:6], args[7]
        (i, rows, row_stride, step), (w, length, n) = args[10:14], args[15:18]
        start = [emit.load(offsets, builder.add(b, constant(v * emit.lanes)), emit.vector) for v in range(width)]
        least = emit.spread(args[8], emit.vector)

        def body(h, count):
            at, shape = builder.add(i, builder.mul(h, step)), (rows, row_stride, step, length)
            z = sums(emit, source, at, shape, weights, w, width, start, count)
            z = {at: builder.select(builder.fcmp_ordered("<", v, least), least, v) for at, v in z.items()}
            with emit.loop(constant(0), copies, 1) as (c, _):
                first = builder.add(builder.add(o, builder.mul(h, stride)), builder.mul(c, pixel))
                places = {(f, v): builder.add(first, builder.mul(stride, constant(f))) for f, v in z}
                places = {(f, v): builder.add(at, constant(v * emit.lanes)) for (f, v), at in places.items()}
                full = builder.icmp_signed(">=", filters, constant(width * emit.lanes))
                with builder.if_else(full) as (whole, part):  # a masked store takes several times as long
                    with whole:
                        for at, value in z.items():
                            emit.store(value, target, places[at])
                    with part:
                        for (f, v), value in z.items():
                            left = builder.sub(filters, constant(v * emit.lanes))
                            store_some(emit, value, target, places[f, v], left)

        in_blocks(emit, n, BLOCK[width], body)
        return context.get_dummy_value()

    at = types.intp
    written, read = (out, at, at, at, at, at, bias, at, x.dtype), (x, at, at, at, at, panel, at, at, at, vectors)
    return types.void(*written, *read), codegen


@intrinsic
def add_outer_products(typingctx, target, t, stride, a, i, group_stride, a_step, b, j, b_step, n, groups, rows):
    """Add outer products, summed over positions, to the gradient of filters.

        target[t + (g * rows + r) * stride + l] += sum over h < n of
            a[i + g * group_stride + r + h * a_step] * b[j + h * b_step + l]

    for g < groups, r < rows (literals) and the lanes l of one vector. Numbers read past the end of b's columns only
    reach lanes past the end of the target's columns.
    """
    if not isinstance(groups, types.IntegerLiteral) or not isinstance(rows, types.IntegerLiteral):
        return None
    grid = [(g, r) for g in range(groups.literal_value) for r in range(rows.literal_value)]

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, a)
        y, left, right = emit.data(target, args[0]), emit.data(a, args[3]), emit.data(b, args[7])
        t, stride, i, group_stride, a_step, j, b_step, n = args[1], args[2], args[4], args[5], args[6], *args[8:11]
        sums = {at: emit.variable(emit.zero(emit.vector)) for at in grid}
        bases = {g: builder.add(i, builder.mul(group_stride, constant(g))) for g, _ in grid}
        with emit.loop(constant(0), n, 1) as (h, _):
            column = emit.load(right, builder.add(j, builder.mul(h, b_step)), emit.vector)
            shift = builder.mul(h, a_step)
            for g, r in grid:
                at = builder.add(builder.add(bases[g], shift), constant(r))
                number = emit.spread(emit.load(left, at, emit.scalar), emit.vector)
                builder.store(emit.add_product(builder.load(sums[g, r]), number, column), sums[g, r])
        for place, at in enumerate(grid):
            there = builder.add(t, builder.mul(stride, constant(place)))
            before = emit.load(y, there, emit.vector)
            emit.store(builder.fadd(before, builder.load(sums[at])), y, there)
        return context.get_dummy_value()

    at = types.intp
    return types.void(target, at, at, a, at, at, at, b, at, at, at, groups, rows), codegen


@intrinsic
def box_sums(typingctx, target, t, source, s, row_stride, q, filters):
    """Sum boxes of a gradient, for i, j < 3 and d < filters:

        target[t + (3 i + j) * filters + d] = sum over b < q of source[s + i * row_stride + (b + 1 - j) * filters + d]

    It may read up to a vector past the last box.
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
