"""Vector primitives as LLVM IR, for loops that Numba does not vectorize.

Each addresses flat storage by offset: array views would count references atomically, once for each of the thousands of
runs in a call. Offsets are in elements and are not checked.

    axpy(height, source, i, target, j, n)        target[j : j+n] += height * source[i : i+n]
    dot(a, i, b, j, n)                           sum of a[i : i+n] * b[j : j+n]
    add_runs(target, j, n, heights, starts, first, last, source, centre)
            target[j : j+n] += sum_c heights[c] * (source[starts[c] : starts[c]+n] - centre),   first <= c < last
    add_and_dot_runs(...)                        add_runs and dot for RUNS runs, each loaded once
    multiply_panel(...)                          a block of a matrix product
    convolve_and_pool(...)                       see encode/cpu.py
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target
from numba.extending import intrinsic

INTP = ir.IntType(64)
FUSED = ("contract",)  # a product and a sum become one fused multiply-add if the machine has it

# A sum of 64 bytes: its assembly names the widest registers of the target.
_PROBE = "define <16 x float> @probe(<16 x float> %x) { %y = fadd <16 x float> %x, %x\nret <16 x float> %y }"


def registers(triple: str, cpu: str, features: str) -> tuple[int, int]:
    """Return the size in bytes and the number of the vector registers of a processor, by its LLVM names."""
    machine = llvmlite.binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvmlite.binding.parse_assembly(_PROBE))
    if "zmm" in assembly:
        return 64, 32
    if "ymm" in assembly:
        return 32, 16
    return 16, 16 if "xmm" in assembly else 32  # SSE; NEON


# Of the processor that Numba compiles for: the host unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES name another.
_context: Any = cpu_target.target_context
VECTOR_BYTES, REGISTERS = registers(*_context.codegen().magic_tuple())
FRAMES = 8 if REGISTERS == 32 else 6  # frames in a block of convolve_and_pool, which has twice as many accumulators
RUNS = 4  # in a block of add_and_dot_runs: with their sums and heights 11 registers are in use
CHUNK = 512  # products in one float32 accumulator before it is added to the total: bounds the rounding error


class Emitter:
    """Loads, stores and loops on the flat storage of Numba arrays, for one scalar type."""

    def __init__(self, context, builder, array_type):
        self.context = context
        self.builder = builder
        self.scalar = context.get_data_type(array_type.dtype)
        self.size = 8 if array_type.dtype == types.float64 else 4
        self.lanes = VECTOR_BYTES // self.size
        self.vector = ir.VectorType(self.scalar, self.lanes)

    def data(self, array_type, value):
        """Return the address of an array's first element."""
        return self.context.make_array(array_type)(self.context, self.builder, value).data

    def load(self, base, offset, kind):
        """Load a scalar or vector of type `kind` from element `offset`."""
        address = self.builder.bitcast(self.builder.gep(base, [offset]), kind.as_pointer())
        loaded = self.builder.load(address)
        loaded.align = self.size
        return loaded

    def store(self, value, base, offset):
        address = self.builder.bitcast(self.builder.gep(base, [offset]), value.type.as_pointer())
        self.builder.store(value, address).align = self.size

    def zero(self, kind):
        return ir.Constant(kind, 0.0 if kind is self.scalar else [0.0] * self.lanes)

    def spread(self, value, kind):
        """Return a vector with `value` in every lane."""
        if kind is self.scalar:
            return value
        empty = ir.Constant(kind, ir.Undefined)
        one = self.builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, empty, lanes)

    def add_product(self, total, a, b):
        """Return total + a * b, fused."""
        return self.builder.fadd(total, self.builder.fmul(a, b, flags=FUSED), flags=FUSED)

    def add_lanes(self, vector, first):
        """Return `first` plus the sum of the vector's lanes."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{self.size * 8}"
        kind = ir.FunctionType(self.scalar, [self.scalar, self.vector])
        reduce = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(reduce, [first, vector], fastmath=("reassoc",))

    def variable(self, value):
        """Allocate a variable that a loop changes; the compiler turns it into a register."""
        return cgutils.alloca_once_value(self.builder, value)

    def loop(self, start, stop, step):
        """Emit a loop over start, start + step, ... < stop; yield the index."""
        step = ir.Constant(INTP, step)
        return cgutils.for_range_slice(self.builder, start, stop, step, INTP, inc=True)

    def sweep(self, length, body, *widths):
        """Call body(offset, kinds) over `length` elements: widths[0] vectors at a time, ..., then one, then scalars."""
        start = ir.Constant(INTP, 0)
        for kinds in (*([self.vector] * width for width in widths), [self.vector], [self.scalar]):
            step = len(kinds) * (1 if kinds[0] is self.scalar else self.lanes)
            rest = self.builder.srem(self.builder.sub(length, start), ir.Constant(INTP, step))
            stop = self.builder.sub(length, rest)
            with self.loop(start, stop, step) as (offset, _):
                body(offset, kinds)
            start = stop

    def offsets(self, base, kinds):
        """Return the offsets of consecutive vectors or scalars of types `kinds`, from `base` on."""
        width = 1 if kinds[0] is self.scalar else self.lanes
        return [self.builder.add(base, ir.Constant(INTP, i * width)) for i in range(len(kinds))]


@intrinsic
def axpy(typingctx, height, source, i, target, j, n):
    """Add height * source[i : i+n] to target[j : j+n]."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, source)
        x, y = emit.data(source, args[1]), emit.data(target, args[3])
        i, j, n = args[2], args[4], args[5]

        def body(offset, kinds):
            for at in emit.offsets(offset, kinds):
                kind = kinds[0]
                there = builder.add(j, at)
                product = emit.load(x, builder.add(i, at), kind)
                value = emit.add_product(emit.load(y, there, kind), emit.spread(args[0], kind), product)
                emit.store(value, y, there)

        emit.sweep(n, body, 4)
        return context.get_dummy_value()

    return types.void(source.dtype, source, types.intp, target, types.intp, types.intp), codegen


@intrinsic
def dot(typingctx, a, i, b, j, n):
    """Return the sum of a[i : i+n] * b[j : j+n]."""

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, a)
        x, y = emit.data(a, args[0]), emit.data(b, args[2])
        i, j, n = args[1], args[3], args[4]
        sums = [emit.variable(emit.zero(emit.vector)) for _ in range(4)]
        tail = emit.variable(emit.zero(emit.scalar))

        def body(offset, kinds):
            places = sums if kinds[0] is emit.vector else [tail]
            for place, kind, at in zip(places, kinds, emit.offsets(offset, kinds), strict=False):
                left, right = emit.load(x, builder.add(i, at), kind), emit.load(y, builder.add(j, at), kind)
                builder.store(emit.add_product(builder.load(place), left, right), place)

        emit.sweep(n, body, 4)
        lanes = builder.load(sums[0])
        for place in sums[1:]:
            lanes = builder.fadd(lanes, builder.load(place))
        return emit.add_lanes(lanes, builder.load(tail))

    return a.dtype(a, types.intp, b, types.intp, types.intp), codegen


@intrinsic
def add_runs(typingctx, target, j, n, heights, starts, first, last, source, centre):
    """Add to target[j : j+n] the sum over first <= c < last of heights[c] * (source[starts[c] :][:n] - centre[:n]).

    A block of the target stays in registers while all runs are added to it. `centre` may be None, for zeros.
    """
    centred = not isinstance(centre, types.NoneType)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, source)
        y, h, s = emit.data(target, args[0]), emit.data(heights, args[3]), emit.data(starts, args[4])
        x, m = emit.data(source, args[7]), emit.data(centre, args[8]) if centred else None
        j, n, first, last = args[1], args[2], args[5], args[6]

        def body(offset, kinds):
            places = emit.offsets(offset, kinds)
            kind = kinds[0]
            middles = [emit.load(m, at, kind) if centred else None for at in places]
            sums = [emit.variable(emit.load(y, builder.add(j, at), kind)) for at in places]
            with emit.loop(first, last, 1) as (c, _):
                height = emit.spread(emit.load(h, c, emit.scalar), kind)
                start = emit.load(s, c, INTP)
                for at, middle, total in zip(places, middles, sums, strict=True):
                    run = emit.load(x, builder.add(start, at), kind)
                    run = builder.fsub(run, middle) if centred else run
                    builder.store(emit.add_product(builder.load(total), height, run), total)
            for at, total in zip(places, sums, strict=True):
                emit.store(builder.load(total), y, builder.add(j, at))

        emit.sweep(n, body, *((6,) if centred else (8, 4)))  # 14 or 10 registers
        return context.get_dummy_value()

    where = types.intp
    return types.void(target, where, where, heights, starts, where, where, source, centre), codegen


@intrinsic
def add_and_dot_runs(typingctx, dots, target, j, rows, i, n, heights, starts, c, source):
    """Compute the dot products of RUNS runs, from number c on, with a row, and the row's gradient.

    With run q = source[starts[q] : starts[q]+n], c <= q < c + RUNS:
        dots[q] = sum of run q * rows[i : i+n];   target[j : j+n] += sum over q of heights[q] * run q
    Each run is loaded once for both.
    """
    runs = range(RUNS)

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, source)
        d, y, w = emit.data(dots, args[0]), emit.data(target, args[1]), emit.data(rows, args[3])
        h, s, x = emit.data(heights, args[6]), emit.data(starts, args[7]), emit.data(source, args[9])
        j, i, n = args[2], args[4], args[5]
        at_run = [builder.add(args[8], ir.Constant(INTP, q)) for q in runs]
        height = [emit.load(h, at, emit.scalar) for at in at_run]
        start = [emit.load(s, at, INTP) for at in at_run]
        sums = [emit.variable(emit.zero(emit.vector)) for _ in runs]
        tails = [emit.variable(emit.zero(emit.scalar)) for _ in runs]

        def body(offset, kinds):
            kind, products = kinds[0], sums if kinds[0] is emit.vector else tails
            wide = [emit.spread(value, kind) for value in height]
            for at in emit.offsets(offset, kinds):
                row, gradient = emit.load(w, builder.add(i, at), kind), emit.load(y, builder.add(j, at), kind)
                for q in runs:
                    run = emit.load(x, builder.add(start[q], at), kind)
                    gradient = emit.add_product(gradient, wide[q], run)
                    builder.store(emit.add_product(builder.load(products[q]), row, run), products[q])
                emit.store(gradient, y, builder.add(j, at))

        emit.sweep(n, body, 4)
        for q in runs:
            emit.store(emit.add_lanes(builder.load(sums[q]), builder.load(tails[q])), d, at_run[q])
        return context.get_dummy_value()

    where = types.intp
    return types.void(dots, target, where, rows, where, where, heights, starts, where, source), codegen


@intrinsic
def convolve_and_pool(typingctx, best, where, slots, o, frame, x, i, stride, panel, w, length, vectors):
    """Convolve FRAMES frames with `vectors` (a literal) vectors of latents; offer each activation to its window.

    With L lanes and Q = vectors * L:
        z[f, q] = sum_j x[i + f * stride + j] * panel[w + j * Q + q],   j < length
    best and where are (windows, Q): best[slots[o + f], q] becomes z[f, q], and where[slots[o + f], q] becomes
    frame + f, if z is larger or NaN, for f in order.
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    count = vectors.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, x)
        source, weights = emit.data(x, args[5]), emit.data(panel, args[8])
        top, place, slot = emit.data(best, args[0]), emit.data(where, args[1]), emit.data(slots, args[2])
        o, frame, i, stride, w, length = args[3], args[4], args[6], args[7], args[9], args[10]
        z = panel_products(emit, source, i, stride, weights, w, length, count)
        offer(emit, z, (top, place, slot), o, frame, count)
        return context.get_dummy_value()

    signature = types.void(
        best,
        where,
        slots,
        types.intp,
        types.intp,
        x,
        types.intp,
        types.intp,
        panel,
        types.intp,
        types.intp,
        vectors,
    )
    return signature, codegen


def panel_products(emit, source, i, stride, weights, w, length, vectors):
    """Return the sums {(f, v)}, a vector each, of FRAMES runs of the source with a panel of weights.

    With L lanes and Q = vectors * L, lane q of the sums of run f is sum_j source[i + f * stride + j] * weights[w + j *
    Q + q], j < length.
    """
    builder, width = emit.builder, vectors * emit.lanes
    constant = lambda value: ir.Constant(INTP, value)  # noqa: E731
    grid = [(f, v) for f in range(FRAMES) for v in range(vectors)]
    runs = [builder.add(i, builder.mul(stride, constant(f))) for f in range(FRAMES)]
    totals = {at: emit.variable(emit.zero(emit.vector)) for at in grid}
    sums = {at: emit.variable(emit.zero(emit.vector)) for at in grid}
    with emit.loop(constant(0), length, CHUNK) as (chunk, _):
        for at in grid:
            builder.store(emit.zero(emit.vector), sums[at])
        end = builder.add(chunk, constant(CHUNK))
        end = builder.select(builder.icmp_signed("<", end, length), end, length)
        with emit.loop(chunk, end, 1) as (j, _):
            first = builder.add(w, builder.mul(j, constant(width)))
            columns = [
                emit.load(weights, builder.add(first, constant(v * emit.lanes)), emit.vector) for v in range(vectors)
            ]
            for f in range(FRAMES):
                scalar = emit.load(source, builder.add(runs[f], j), emit.scalar)
                scalar = emit.spread(scalar, emit.vector)
                for v in range(vectors):
                    total = emit.add_product(builder.load(sums[f, v]), scalar, columns[v])
                    builder.store(total, sums[f, v])
        for at in grid:
            builder.store(builder.fadd(builder.load(totals[at]), builder.load(sums[at])), totals[at])
    return {at: builder.load(total) for at, total in totals.items()}


@intrinsic
def multiply_panel(typingctx, target, o, row, x, i, stride, panel, w, length, vectors):
    """Multiply FRAMES runs by a panel with `vectors` (a literal) vectors of columns.

    With L lanes and Q = vectors * L:
        target[o + f * row + q] = sum_j x[i + f * stride + j] * panel[w + j * Q + q],   j < length, f < FRAMES
    """
    if not isinstance(vectors, types.IntegerLiteral):
        return None
    count = vectors.literal_value

    def codegen(context, builder, signature, args):
        emit = Emitter(context, builder, x)
        out, source, weights = emit.data(target, args[0]), emit.data(x, args[3]), emit.data(panel, args[6])
        sums = panel_products(emit, source, args[4], args[5], weights, args[7], args[8], count)
        for (f, v), total in sums.items():
            at = builder.add(args[1], builder.mul(args[2], ir.Constant(INTP, f)))
            emit.store(total, out, builder.add(at, ir.Constant(INTP, v * emit.lanes)))
        return context.get_dummy_value()

    where = types.intp
    return types.void(target, where, where, x, where, where, panel, where, where, vectors), codegen


def offer(emit, z, places, o, number, vectors):
    """Offer each sum z[f, v], a vector, to its window, in order of f.

    `places` are the addresses of best, where and slots: best[slots[o + f]] and where[slots[o + f]], rows of `vectors`
    vectors, become z[f] and number + f in the lanes where z is larger or NaN.
    """
    builder, (best, where, slots), width = emit.builder, places, vectors * emit.lanes
    indices = ir.VectorType(ir.IntType(32), emit.lanes)
    empty = ir.Constant(indices, ir.Undefined)
    for (f, v), value in z.items():
        row = emit.load(slots, builder.add(o, ir.Constant(INTP, f)), INTP)
        at = builder.add(builder.mul(row, ir.Constant(INTP, width)), ir.Constant(INTP, v * emit.lanes))
        old = emit.load(best, at, emit.vector)
        wins = builder.fcmp_unordered(">", value, old)  # larger, or either is NaN: this would replace a NaN in `old`
        wins = builder.and_(wins, builder.fcmp_ordered("ord", old, old))  # so the first NaN stays
        this = builder.trunc(builder.add(number, ir.Constant(INTP, f)), ir.IntType(32))
        this = builder.insert_element(empty, this, ir.Constant(ir.IntType(32), 0))
        this = builder.shuffle_vector(this, empty, ir.Constant(indices, [0] * emit.lanes))
        old_place = builder.load(_aligned4(builder, where, at, indices))
        old_place.align = 4
        emit.store(builder.select(wins, value, old), best, at)
        builder.store(builder.select(wins, this, old_place), _aligned4(builder, where, at, indices)).align = 4


def _aligned4(builder, base, offset, kind):
    """Return the address of a vector of int32 at element `offset`."""
    return builder.bitcast(builder.gep(base, [offset]), kind.as_pointer())
