"""Tolerances by arithmetic: what our own kernels are held to, and a bound for sums that a library makes.

A kernel of ours sums in short parts, so that one tolerance holds for every length. A library (PyTorch in the eager
back-end, a peer, a candidate built on either) sums in an order that depends on the processor; the worst order that is
seen is one accumulator from the first term to the last. Let s be the sum of n products a_i b_i, u the unit roundoff
(2^-24 in float32), s' the sum as computed. Then

    |s' - s| <= n u sum |a_i b_i|                    always (Higham 2002, equation 3.5, to first order in u)
    |s' - s| <= lambda sqrt(n) u sum |a_i b_i|       with probability 1 - 2 exp(-lambda^2 / 2) where rounding errors
                                                     have mean 0 (Higham and Mary 2019, theorem 2.4)

An error here is relative to the root mean square of the truth, so sum |a_i b_i| becomes the cancellation, the ratio of
sum |a_i b_i| to |s|. Of terms that all have one sign it is 1. Of terms of random sign it is about sqrt(n), but the
partial sums are smaller than sum |a_i b_i| by the same factor at each step, and the rounding errors with them, so that
sqrt(n) u bounds the relative error of both. Measured, with one accumulator in an order that does not depend on the
values: 0.22 to 0.40 sqrt(n) u for random signs from 10 to 10^6 terms and for equal signs to 10^5; at 10^6 terms of
equal sign, where many are less than half the spacing of the partial sums, up to 2.8 sqrt(n) u.
Only where an op takes the difference of long sums is there a cancellation above 1 to be given.

With lambda = 4 the bound is met with a probability above 0.999 even if every rounding is as large as it can be. It is
below the error of a sum that lacks one term, 1 / sqrt(n) for random signs and 1 / n for equal ones, by a factor of
1 / (4 n u) and 1 / (4 n^1.5 u): above 10 as far as 400,000 and 5,600 terms. Beyond that a missing term is seen in
float64, where u is 2^-53.
"""

import math
from typing import Any

# Relative root-mean-square error against the float64 reference of what we sum ourselves. "tf32" is float32 storage
# with PyTorch's switch for TF32 set; types of two bytes are summed in float32.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5, "tf32": 1e-3, "float16": 2e-3, "bfloat16": 2e-2}
LAMBDA = 4.0


def library_bound(kind: str, terms: int, cancellation: float = 1.0) -> float:
    """Return the largest relative error for sums of at most `terms` products that a library makes.

    `kind` is a key of TOLERANCES, which are the least that is returned. `cancellation` is the ratio of the sum of
    absolute values to the result where an op takes the difference of long sums.
    """
    unit_roundoff = 2.0**-53 if kind == "float64" else 2.0**-24
    return max(TOLERANCES[kind], min(terms, LAMBDA * math.sqrt(terms)) * unit_roundoff * cancellation)


def case_bound(checks: Any, op_pass: str, case: Any, kind: str) -> float:
    """Return `library_bound` for a pass on one of its cases, by what the op's module of checks says of its sums.

    LONGEST_SUM there has by pass the number of terms in the longest sum, which is that of an output, a loss or a
    gradient; CANCELLATION, which it may lack, has the cancellation.
    """
    cancellation = getattr(checks, "CANCELLATION", {}).get(op_pass, lambda case: 1.0)(case)
    return library_bound(kind, checks.LONGEST_SUM[op_pass](case), cancellation)


def pool_windows(case: Any) -> int:
    """Terms in the gradient of a filter: one position of each pool window, whose others have gradient 0."""
    return case.batch * -(-case.frames // case.pool)


def points(case: Any) -> int:
    """Items, frames and bins."""
    return case.batch * case.frames * case.bins


def loss_terms(case: Any) -> int:
    """Squared errors and penalties of the partitioned loss."""
    return points(case) + pool_windows(case) * case.latents
