"""Vectors as values in Numba's code: LANES float32 numbers that are loaded, calculated with and stored as one.

For loops that Numba does not turn into vector code, such as those whose arrays it cannot tell apart.

    v = load(array, i)                                    array[i : i + LANES]
    v = fill(array, i)                                    array[i] in every lane
    store(v, array, i)
    v + w, v - w, v * w                                   lane by lane; a product and its sum are fused
    root(v)                                               the square root of each lane
    transpose(target, j, spacing, source, i, stride)      target[j + a * spacing + b] = source[i + b * stride + a],
                                                          a, b < LANES
    aligned(size)                                         an array (size,) that begins with a line of the cache

Arrays are contiguous float32 of one dimension; offsets are in elements, and are not checked.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

from ._cpu.jit import kernel
from ._cpu.simd import VECTOR_BYTES

LANES = VECTOR_BYTES // 4
LINE = 64  # bytes in a line of the cache; a vector that lies across two takes twice as long

_LANES = ir.VectorType(ir.FloatType(), LANES)
_INT32 = ir.IntType(32)
_primitive: Any = intrinsic  # whose result takes one argument less, as type checkers do not know


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Vector")


VECTOR = _VectorType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, _LANES)


def _address(context, builder, array_type, array, offset):
    """Where a vector at element `offset` of the array lies."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(cgutils.gep_inbounds(builder, data, offset), _LANES.as_pointer())


def _load(builder, address):
    loaded = builder.load(address)
    loaded.align = 4
    return loaded


@_primitive
def load(typingctx, array, offset):
    def codegen(context, builder, signature, args):
        return _load(builder, _address(context, builder, array, *args))

    return VECTOR(array, types.intp), codegen


@_primitive
def fill(typingctx, array, offset):
    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        number = builder.load(cgutils.gep_inbounds(builder, data, args[1]))
        one = builder.insert_element(ir.Constant(_LANES, ir.Undefined), number, _INT32(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT32, LANES), [0] * LANES))

    return VECTOR(array, types.intp), codegen


@_primitive
def store(typingctx, vector, array, offset):
    def codegen(context, builder, signature, args):
        builder.store(args[0], _address(context, builder, array, *args[1:])).align = 4
        return context.get_dummy_value()

    return types.void(VECTOR, array, types.intp), codegen


def _operator(symbol, instruction):
    """Teach Numba what `symbol` is for two vectors."""

    @type_callable(symbol)
    def _(context):
        return lambda a, b: VECTOR if a == b == VECTOR else None

    @lower_builtin(symbol, VECTOR, VECTOR)
    def _(context, builder, signature, args):
        return getattr(builder, instruction)(*args, flags=("contract",))


for _symbol, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _operator(_symbol, _instruction)


@_primitive
def root(typingctx, vector):
    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(_LANES, [_LANES])
        function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.sqrt.v{LANES}f32")
        return builder.call(function, args)

    return VECTOR(VECTOR), codegen


@_primitive
def transpose(typingctx, target, j, spacing, source, i, stride):
    def codegen(context, builder, signature, args):
        _, j, spacing, _, i, stride = args
        at = lambda first, step, row: builder.add(first, builder.mul(step, ir.Constant(step.type, row)))  # noqa: E731
        rows = [_load(builder, _address(context, builder, source, args[3], at(i, stride, b))) for b in range(LANES)]
        halves = [range(half * LANES // 2, (half + 1) * LANES // 2) for half in (0, 1)]
        merges = [
            ir.Constant(ir.VectorType(_INT32, LANES), [lane for p in half for lane in (p, LANES + p)])
            for half in halves
        ]
        # Each round merges row b with row b + LANES / 2, lane by lane, as a perfect shuffle does; log2(LANES) of them
        # exchange rows and lanes.
        for _ in range(LANES.bit_length() - 1):
            pairs = zip(rows[: LANES // 2], rows[LANES // 2 :], strict=True)
            rows = [builder.shuffle_vector(a, b, merge) for a, b in pairs for merge in merges]
        for a, row in enumerate(rows):
            builder.store(row, _address(context, builder, target, args[0], at(j, spacing, a))).align = 4
        return context.get_dummy_value()

    where = types.intp
    return types.void(target, where, where, source, where, where), codegen


@kernel
def aligned(size):
    whole = np.empty(size + LINE // 4, np.float32)
    skipped = (-whole.ctypes.data % LINE) // 4
    return whole[skipped : skipped + size]
