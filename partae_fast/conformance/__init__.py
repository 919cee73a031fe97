"""The conformance of implementations: cases, the comparison with the reference, and `partae verify`.

cases.py              shapes and kinds of input, tolerances, how an error is measured
encode.py, ...        the checks of each op: a function for each pass compares an implementation with the reference on
                      a case. Ops with cases of their own have TINY, LARGER and BEYOND, and reference_errors(op_pass)
                      that yields (case, quantity, error) of the reference
truth.py              checks of the other ops' reference against plain loops and finite differences
verify.py             all checks on every back-end that can run here, as rows
cuda_shim.py          CUDA C kernels, built for the CPU by g++
candidate.py          a user's function as one more back-end
"""

from .candidate import Candidate, load_candidate
from .verify import Row, verify

__all__ = ["Candidate", "Row", "load_candidate", "verify"]
