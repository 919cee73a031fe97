"""Register a candidate as an additional back-end of its op, so that it is called like partae's own.

The public function checks the arguments, and the custom op and autograd call the candidate. Passes that the candidate
does not implement are those of the back-end that "auto" chooses.
"""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import SimpleNamespace

import torch

from partae_fast.conformance.candidate import Candidate, load_candidate, passes
from partae_fast.errors import UserError
from partae_fast.kernels import OPS, implementation, resolve
from partae_fast.kernels.registry import registered

from .passes import BACKWARD, FORWARD


def load(spec: str, op: str | None = None) -> Candidate:
    """Return the candidate "FILE.py:FUNCTION".

    It implements the pass whose name the function has. If the function has the name of no pass, it implements `op`: a
    pass, or an op, which stands for its first pass. Raises UserError if the function does not exist, or if it
    implements a pass of another op.
    """
    name = spec.rpartition(":")[2]
    op_pass = name if name in passes() else OPS[op].passes[0] if op in OPS else op if op in passes() else None
    candidate = load_candidate(spec, op_pass)
    if op not in (None, candidate.op, candidate.op_pass):
        raise UserError(f"candidate {spec} is a pass of {candidate.op}, not of {op}; say: partae bench {candidate.op}")
    return candidate


def joins(candidate: Candidate, op_pass: str) -> bool:
    """Return whether benchmarks of `op_pass` run the candidate's pass in their timed part."""
    backward = candidate.op_pass.endswith("_backward")
    return op_pass != (FORWARD if backward else BACKWARD)


def as_backend(candidate: Candidate, device: str) -> AbstractContextManager[None]:
    """Return a context in which `backend=candidate.name` calls the candidate."""
    op = candidate.op
    default = implementation(op, resolve(op, "auto", torch.device(device), torch.float32))
    functions = dict(vars(default))
    functions[candidate.op_pass] = _accept_negative_slope(candidate) if op == "encode" else candidate.function
    return registered(op, candidate.name, SimpleNamespace(**functions))


def _accept_negative_slope(candidate: Candidate) -> Callable:
    """Return the candidate's function, made to accept and ignore negative_slope if it lacks that argument.

    negative_slope is 0 in the benchmarks.
    """
    parameters = inspect.signature(candidate.function).parameters.values()
    by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(
        p.kind == inspect.Parameter.VAR_POSITIONAL or (p.name == "negative_slope" and p.kind in by_position)
        for p in parameters
    ):
        return candidate.function
    return lambda *args: candidate.function(*args[:-1])
