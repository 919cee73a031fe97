"""Tolerances by arithmetic: for our kernels, and a bound for sums that a library computes.

Our kernels sum in short parts, so that one tolerance holds for every length. A library (PyTorch in the eager back-end,
a peer, a candidate built on either) sums in an order that depends on the processor; the worst observed order is one
accumulator from the first term to the last. Let s be the sum of n products a_i b_i, u the unit roundoff (2^-24 in
float32), and s' the computed sum. Then

    |s' - s| <= n u sum |a_i b_i|                    always (Higham 2002, equation 3.5, to first order in u)
    |s' - s| <= lambda sqrt(n) u sum |a_i b_i|       with probability 1 - 2 exp(-lambda^2 / 2) if rounding errors
                                                     have mean 0 (Higham and Mary 2019, theorem 2.4)

An error here is relative to the root mean square of the truth, so sum |a_i b_i| becomes the cancellation, the ratio of
sum |a_i b_i| to |s|. It is 1 for terms of one sign. For terms of random sign it is about sqrt(n), but the partial
sums, and with them the rounding errors, are smaller than sum |a_i b_i| by the same factor, so sqrt(n) u bounds the
relative error of both. Measured with one accumulator in a fixed order: 0.22 to 0.40 sqrt(n) u for random signs from 10
to 10^6 terms and for equal signs to 10^5; up to 2.8 sqrt(n) u for 10^6 terms of equal sign, of which many are less than
half the spacing of the partial sums. Only an op that takes the difference of long sums has a cancellation above 1.

With lambda = 4 the bound holds with a probability above 0.999 even for the largest possible rounding errors. It is
below the error of a sum that lacks one term, 1 / sqrt(n) for random signs and 1 / n for equal ones, by a factor of
1 / (4 n u) and 1 / (4 n^1.5 u): above 10 up to 400,000 and 5,600 terms. For longer sums float64, where u is 2^-53,
shows a missing term.
"""

import math
from typing import Any

# Relative root-mean-square error of our own sums against the float64 reference. "tf32" is float32 storage with
# PyTorch's switch for TF32 set; types of two bytes are summed in float32.
TOLERANCES = {"float64": 1e-12, "float32": 1e-5, "tf32": 1e-3, "float16": 2e-3, "bfloat16": 2e-2}
LAMBDA = 4.0


def library_bound(kind: str, terms: int, cancellation: float = 1.0) -> float:
    """Return the largest relative error allowed for a library's sums of at most `terms` products.

    `kind` is a key of TOLERANCES, whose value is the smallest result. `cancellation` is the ratio of the sum of
    absolute values to the result, for an op that takes the difference of long sums.
    """
    unit_roundoff = 2.0**-53 if kind == "float64" else 2.0**-24
    return max(TOLERANCES[kind], min(terms, LAMBDA * math.sqrt(terms)) * unit_roundoff * cancellation)


def case_bound(checks: Any, op_pass: str, case: Any, kind: str) -> float:
    """Return `library_bound` for a pass on a case, from LONGEST_SUM and CANCELLATION of the op's module of checks.

    LONGEST_SUM has for each pass the number of terms in the longest sum of an output, a loss or a gradient. The
    optional CANCELLATION has the cancellation.
    """
    cancellation = getattr(checks, "CANCELLATION", {}).get(op_pass, lambda case: 1.0)(case)
    return library_bound(kind, checks.LONGEST_SUM[op_pass](case), cancellation)


def pool_windows(case: Any) -> int:
    """Return the terms in the gradient of a filter: one position of each pool window has a gradient."""
    return case.batch * -(-case.frames // case.pool)


def points(case: Any) -> int:
    """Return the number of items times frames times bins."""
    return case.batch * case.frames * case.bins


def loss_terms(case: Any) -> int:
    """Return the number of squared errors and penalties in the partitioned loss."""
    return points(case) + pool_windows(case) * case.latents
