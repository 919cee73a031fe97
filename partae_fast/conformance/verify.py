"""Every op and every model of frames on every back-end that can run here, against the reference: `partae verify`."""

import contextlib
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..errors import UserError
from ..kernels import OPS, BackendUnavailable, backends, implementation
from ..kernels.registry import DTYPES, interpreting
from . import models, truth
from .candidate import Candidate
from .cases import LARGER, TINY, TOLERANCES, WRONG

INTERPRETER = "triton-interpreter"
_MODELS = "models"  # stands for an op, whose passes are models of frames


@dataclass(frozen=True)
class Row:
    """One line of the table: a pass on a back-end in one arithmetic."""

    op: str
    backend: str
    type: str
    cases: int
    error: float  # the worst over cases and quantities; infinite where no tolerance covers the result
    tolerance: float
    where: str = ""  # the case and quantity of the worst
    failures: dict[str, float] = field(default_factory=dict)  # errors above the tolerance, by case and quantity

    @property
    def passed(self) -> bool:
        return self.cases > 0 and self.error <= self.tolerance

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: null stands for it."""
        failures = {name: None if e == WRONG else e for name, e in self.failures.items()}
        error = None if self.error == WRONG else self.error
        return {**asdict(self), "error": error, "failures": failures, "passed": self.passed}


class _Tally:
    """The worst of many errors, and all of them above the tolerance."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance, self.worst, self.where = tolerance, 0.0, ""
        self.cases: set[str] = set()
        self.failures: dict[str, float] = {}

    def add(self, case: str, quantity: str, error: float) -> None:
        self.cases.add(case)
        if error > self.worst:
            self.worst, self.where = error, f"{case}: {quantity}"
        if error > self.tolerance:
            self.failures[f"{case}: {quantity}"] = error

    def row(self, op_pass: str, backend: str, kind: str) -> Row:
        return Row(op_pass, backend, kind, len(self.cases), self.worst, self.tolerance, self.where, self.failures)


def verify(op: str | None = None, backend: str | None = None, candidate: Candidate | None = None) -> Iterator[Row]:
    """Rows for one op or pass or all of them, on one back-end or all that can run here, as they are done.

    `backend` "triton-interpreter" runs the Triton kernels through the interpreter, in a process of its own, on the
    tiny cases. A back-end asked for by name that cannot run raises BackendUnavailable; an unknown name UserError.
    """
    chosen = _passes(op)
    for name in _backends(backend):
        if name == "reference":
            yield from _reference_rows(chosen)
        elif name == INTERPRETER:
            yield from _interpreted_rows(op, chosen)
        else:
            yield from _rows(chosen, name)
    if candidate is not None:
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        yield row(candidate.op, candidate.op_pass, candidate.name, candidate.module(), "float32", device)


def _passes(op: str | None) -> list[tuple[str, str]]:
    every = [(name, op_pass) for name, entry in OPS.items() for op_pass in entry.passes]
    every += [(_MODELS, name) for name in models.MODELS]
    chosen = [(name, op_pass) for name, op_pass in every if op in (None, name, op_pass)]
    if not chosen:
        raise UserError(f"op {op!r} is not known; choose one of {', '.join(p for _, p in every)}")
    return chosen


def _backends(backend: str | None) -> list[str]:
    known = backends()
    served = [name for name in known if name == "reference" or any(name in entry.backends for entry in OPS.values())]
    interpreter = importlib.util.find_spec("triton") is not None
    if backend is None:
        return [name for name in served if known[name].available] + [INTERPRETER] * interpreter
    if backend == INTERPRETER:
        if not interpreter:
            raise BackendUnavailable("triton-interpreter cannot run here: triton is not installed; pip install triton")
        return [backend]
    if backend not in known:
        raise UserError(f"back-end {backend!r} is not known; choose one of {', '.join([*served, INTERPRETER])}")
    if not known[backend].available:
        raise BackendUnavailable(f"back-end {backend} cannot run here: {known[backend].reason}")
    if backend not in served:
        raise BackendUnavailable(f"back-end {backend} implements no op yet; choose one of {', '.join(served)}")
    return [backend]


def _rows(chosen: list[tuple[str, str]], backend: str) -> Iterator[Row]:
    gpu = torch.cuda.is_available() and not interpreting()
    devices = {"cpu": ["cpu"], "eager": ["cpu", *["cuda"] * gpu]}.get(backend, ["cuda" if gpu else "cpu"])
    for op, op_pass in chosen:
        if op == _MODELS:
            yield from _model_rows(op_pass, backend, devices)
            continue
        if backend not in OPS[op].backends:
            continue
        module = implementation(op, backend)
        for device in devices:
            kinds = [str(kind).removeprefix("torch.") for kind in DTYPES[backend] if kind in OPS[op].types]
            if device == "cuda":
                kinds.insert(1, "tf32")
            if interpreting():
                kinds = ["float32"]  # bf16 is silently wrong in the interpreter, and TF32 is not rounded
            for kind in kinds:
                name = INTERPRETER if interpreting() else backend + "/cuda" * (backend == "eager" and device == "cuda")
                found = row(op, op_pass, name, module, kind, torch.device(device))
                if found.cases:  # a fused kernel may refuse a type that its back-end has for other ops
                    yield found


def _model_rows(name: str, backend: str, devices: list[str]) -> Iterator[Row]:
    """A model whose ops a back-end serves, in each type that it takes."""
    if interpreting() or backend not in OPS["dense"].backends:
        return
    for device in devices:
        for kind in models.TYPES:
            if getattr(torch, kind) not in DTYPES[backend]:
                continue
            tally = _Tally(TOLERANCES[kind])
            for case, quantity, error in models.errors(name, backend, kind, torch.device(device)):
                tally.add(case, quantity, error)
            yield tally.row(name, backend + "/cuda" * (backend == "eager" and device == "cuda"), kind)


def row(op: str, op_pass: str, name: str, module: Any, kind: str, device: torch.device) -> Row:
    """One pass of one implementation on all the cases (the tiny ones in the interpreter), in one arithmetic."""
    checks = importlib.import_module(f"{__package__}.{op}")
    check, tolerance = getattr(checks, op_pass), {**TOLERANCES, **getattr(checks, "TOLERANCES", {})}[kind]
    dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
    cases = getattr(checks, "TINY", TINY)
    if not interpreting():
        cases = cases + getattr(checks, "LARGER", LARGER)
    tally = _Tally(tolerance)
    with _tf32(kind == "tf32"):
        for case in cases:
            for quantity, error in check(case, module, dtype, device, tolerance).items():
                tally.add(case.name, quantity, error)
    return tally.row(op_pass, name, kind)


@contextlib.contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _reference_rows(chosen: list[tuple[str, str]]) -> Iterator[Row]:
    for op, op_pass in chosen:
        if op == _MODELS:
            tally = _Tally(models.REFERENCE_TOLERANCE)
            for case, quantity, error in models.reference_errors(op_pass):
                tally.add(case, quantity, error)
            yield tally.row(op_pass, "reference", "float64")
            continue
        checks = importlib.import_module(f"{__package__}.{op}")
        known = checks if hasattr(checks, "reference_errors") else truth
        tally = _Tally(truth.tolerance(op_pass))
        for case, quantity, error in known.reference_errors(op_pass):
            tally.add(case, quantity, error)
        yield tally.row(op_pass, "reference", "float64")


def _interpreted_rows(op: str | None, chosen: list[tuple[str, str]]) -> Iterator[Row]:
    """Rows of the Triton kernels through the interpreter, which a process must ask for before it imports Triton."""
    chosen = [(op, op_pass) for op, op_pass in chosen if op in OPS and "triton" in OPS[op].backends]
    if not chosen:
        return
    command = [sys.executable, "-m", "partae_fast.conformance", *([op] if op else [])]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    found = [Row(**json.loads(line)) for line in done.stdout.splitlines()]
    yield from found
    for _, op_pass in chosen[len(found) :]:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        yield Row(op_pass, INTERPRETER, "float32", 0, WRONG, TOLERANCES["float32"], f"the process failed: {last}")
