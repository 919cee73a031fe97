"""A candidate as one more back-end of its op, so that it is timed on the road that the others take.

The public function checks its arguments, the custom op and autograd call the candidate. Passes that it does not
implement are those of the house's back-end that "auto" chooses.
"""

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import SimpleNamespace

import torch

from partae_fast.conformance.candidate import Candidate, load_candidate, passes
from partae_fast.errors import UserError
from partae_fast.kernels import OPS, implementation, resolve
from partae_fast.kernels.registry import registered


def load(spec: str, op: str | None, timed: Sequence[str]) -> Candidate:
    """The candidate of "FILE.py:FUNCTION", which implements the pass of its own name, or else that of `op`.

    `op` is a pass or an op, of which the first pass is meant.

    Raises UserError where there is no such function, where its pass is none of `op`, or where its op is not one of
    those that are `timed`.
    """
    name = spec.rpartition(":")[2]
    op_pass = name if name in passes() else OPS[op].passes[0] if op in OPS else op if op in passes() else None
    mine = load_candidate(spec, op_pass)
    if mine.op not in timed:
        ops = ", ".join(name for name in timed if name in OPS)
        raise UserError(f"candidate {spec}: no benchmark times {mine.op_pass}; those of {ops} can be timed")
    if op not in (None, mine.op, mine.op_pass):
        raise UserError(f"candidate {spec} is a pass of {mine.op}, not of {op}; say: partae bench {mine.op}")
    return mine


def as_backend(candidate: Candidate, device: str) -> AbstractContextManager[None]:
    """Inside, `backend=candidate.name` runs the candidate."""
    op = candidate.op
    house = implementation(op, resolve(op, "auto", torch.device(device), torch.float32))
    functions = {name: getattr(house, name) for name in OPS[op].passes}
    functions[candidate.op_pass] = _taking_negative_slope(candidate) if op == "encode" else candidate.function
    return registered(op, candidate.name, SimpleNamespace(**functions))


def _taking_negative_slope(candidate: Candidate) -> Callable:
    """Return the function, without the argument negative_slope if it takes none by position: it is 0 here."""
    parameters = inspect.signature(candidate.function).parameters.values()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(
        p.kind == inspect.Parameter.VAR_POSITIONAL or (p.name == "negative_slope" and p.kind in by_position)
        for p in parameters
    ):
        return candidate.function
    return lambda *args: candidate.function(*args[:-1])
