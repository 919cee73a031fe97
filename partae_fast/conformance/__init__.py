"""What every implementation of an op must show: the cases, the comparison with the reference, and `partae verify`.

cases.py              shapes and kinds of input, tolerances, how an error is measured
encode.py, ...        for each pass of an op: run an implementation on a case, compare with the reference. An op that
                      cases.py does not suit has TINY and LARGER cases of its own, anything with a name, and
                      reference_errors(op_pass), (case, quantity, error) of the reference itself
truth.py              the other ops' reference itself, against plain loops and finite differences
verify.py             all of it on every back-end that can run here, as rows
candidate.py          a kernel engineer's own function as one more back-end
"""

from .candidate import Candidate, load_candidate
from .verify import Row, verify

__all__ = ["Candidate", "Row", "load_candidate", "verify"]
