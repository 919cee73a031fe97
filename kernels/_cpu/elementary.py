"""Elementary functions that Numba vectorizes in loops: polynomials in float32, the standard functions in float64.

    tanh(x)         relative error below 4e-7
    exp_below(x)    e^x for x <= 0: relative error below 1e-6 down to e^-10, 1e-5 down to e^-87; e^-87 below that
    log1p_of(x)     log(1 + x) for 0 <= x <= 1: relative error below 3e-7
    log_of(x)       log(x) for normal numbers x > 0: absolute error below 3e-7 + 1.2e-7 |log(x)|

NaN gives NaN. The coefficients are least-squares fits, reweighted to minimize the largest relative error.
"""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from .jit import FASTMATH

_OPTIONS: Any = {"fastmath": FASTMATH, "error_model": "numpy"}


def _float32(*numbers: float) -> tuple[np.float32, ...]:
    """Return constants in float32: one float64 constant would make an expression float64."""
    return tuple(map(np.float32, numbers))


def tanh(x: Any) -> Any:
    return math.tanh(x)


def exp_below(x: Any) -> Any:
    return math.exp(x)


def log1p_of(x: Any) -> Any:
    return math.log1p(x)


def log_of(x: Any) -> Any:
    return math.log(x)


@overload(tanh, jit_options=_OPTIONS)
def _tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    one, edge = _float32(1.0, 9.02)  # above this tanh is 1 in float32
    p0, p1, p2, p3, p4 = _float32(9.999999790e-01, 1.337971865e-01, 3.494035383e-03, 2.058349371e-05, 1.331908690e-08)
    q1, q2, q3, q4 = _float32(4.671303390e-01, 2.587107640e-02, 3.283094140e-04, 7.762026059e-07)

    def rational(x):
        x = -edge if x < -edge else (edge if x > edge else x)
        u = x * x
        above = p0 + u * (p1 + u * (p2 + u * (p3 + u * p4)))
        below = one + u * (q1 + u * (q2 + u * (q3 + u * q4)))
        return x * above / below

    return rational


@intrinsic
def _nearest(typingctx, x):
    """Return the nearest integer, as a float32."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.rint.f32"), args)

    return types.float32(types.float32), codegen


@intrinsic
def _two_to(typingctx, n):
    """Return 2^n for an integral float32 n from -126 to 127: n becomes the bits of the exponent."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(32)
        exponent = builder.add(builder.fptosi(args[0], word), word(127))
        return builder.bitcast(builder.shl(exponent, word(23)), ir.FloatType())

    return types.float32(types.float32), codegen


@intrinsic
def _exponent(typingctx, x):
    """Return the exponent of a normal float32 x > 0, as a float32."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(32)
        exponent = builder.sub(builder.lshr(builder.bitcast(args[0], word), word(23)), word(127))
        return builder.sitofp(exponent, ir.FloatType())

    return types.float32(types.float32), codegen


@intrinsic
def _significand(typingctx, x):
    """Return x / 2^exponent, in [1, 2), of a normal float32 x > 0."""

    def codegen(context, builder, signature, args):
        word = ir.IntType(32)
        fraction = builder.and_(builder.bitcast(args[0], word), word(0x007FFFFF))
        return builder.bitcast(builder.or_(fraction, word(0x3F800000)), ir.FloatType())

    return types.float32(types.float32), codegen


@overload(exp_below, jit_options=_OPTIONS)
def _exp_below(x):
    if x != types.float32:
        return lambda x: math.exp(x)

    edge, octaves = _float32(-87.0, 1.4426950408889634)
    p0, p1, p2, p3, p4, p5, p6 = _float32(
        1.000000001e00, 6.931472057e-01, 2.402264689e-01, 5.550328762e-02, 9.618488981e-03, 1.339993723e-03,
        1.534582017e-04,
    )  # fmt: skip

    def polynomial(x):
        x = edge if x < edge else x
        octave = x * octaves
        whole = _nearest(octave)
        u = octave - whole
        return (p0 + u * (p1 + u * (p2 + u * (p3 + u * (p4 + u * (p5 + u * p6)))))) * _two_to(whole)

    return polynomial


@overload(log1p_of, jit_options=_OPTIONS)
def _log1p_of(x):
    if x != types.float32:
        return lambda x: math.log1p(x)

    p0, p1, p2, p3, p4, p5, p6, p7, p8 = _float32(
        9.999999699e-01, -4.999949315e-01, 3.331909690e-01, -2.484298267e-01, 1.910600790e-01, -1.366324728e-01,
        7.822596085e-02, -2.950524005e-02, 5.232693685e-03,
    )  # fmt: skip

    def polynomial(x):
        return x * (p0 + x * (p1 + x * (p2 + x * (p3 + x * (p4 + x * (p5 + x * (p6 + x * (p7 + x * p8))))))))

    return polynomial


@overload(log_of, jit_options=_OPTIONS)
def _log_of(x):
    if x != types.float32:
        return lambda x: math.log(x)

    one, octave = _float32(1.0, math.log(2.0))

    def of_parts(x):
        logarithm = _exponent(x) * octave + log1p_of(_significand(x) - one)
        return logarithm if x == x else x  # the parts of NaN are those of a number

    return of_parts
