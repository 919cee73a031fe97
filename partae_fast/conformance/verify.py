"""`partae verify`: every op and every model of frames, on every back-end that can run here, against the reference."""

import concurrent.futures
import functools
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..errors import UserError
from ..kernels import OPS, BackendUnavailable, backends, implementation
from ..kernels.registry import DTYPES, interpreting
from ..kernels.tf32 import tf32
from . import cuda_shim, models, truth
from .candidate import Candidate
from .comparison import WRONG
from .examination import Check, KeywordMissing, repeat
from .tolerances import TOLERANCES, case_bound

INTERPRETER = "triton-interpreter"
SHIM = "cuda-shim"
_MODELS = "models"  # the name of an op whose passes are models of frames


@dataclass(frozen=True)
class Row:
    """A row of the table: a pass on a back-end in one arithmetic."""

    op: str
    backend: str
    type: str
    cases: int
    error: float  # the largest over cases and quantities; infinite if no tolerance allows the result
    tolerance: float
    where: str = ""  # the case and quantity of the largest error
    failures: dict[str, float] = field(default_factory=dict)  # errors above the tolerance, by case and quantity
    note: str = ""  # what was not checked, and why
    refused: bool = False  # whether a candidate refuses this type

    @property
    def passed(self) -> bool:
        return self.refused or (self.cases > 0 and not self.failures)

    def to_dict(self) -> dict[str, Any]:
        """Return the row for JSON, which has no infinity: it becomes null."""
        failures = {name: None if e == WRONG else e for name, e in self.failures.items()}
        error = None if self.error == WRONG else self.error
        return {**asdict(self), "error": error, "failures": failures, "passed": self.passed}


class _Tally:
    """The largest of many errors, relative to what each is allowed, and all errors above that."""

    def __init__(self, tolerance: float) -> None:
        self.worst, self.tolerance, self.where = 0.0, tolerance, ""
        self.cases: set[str] = set()
        self.failures: dict[str, float] = {}
        self.skipped: dict[str, int] = {}

    def add(self, case: str, quantity: str, error: float, tolerance: float) -> None:
        self.cases.add(case)
        if not error / tolerance <= self.worst / self.tolerance:
            self.worst, self.tolerance, self.where = error, tolerance, f"{case}: {quantity}"
        if not error <= tolerance:
            self.failures[f"{case}: {quantity}"] = error

    def row(self, op_pass: str, backend: str, kind: str) -> Row:
        note = "; ".join(f"{count} cases not run, for lack of {argument}" for argument, count in self.skipped.items())
        return Row(op_pass, backend, kind, len(self.cases), self.worst, self.tolerance, self.where, self.failures, note)


@dataclass(frozen=True)
class Thoroughness:
    """How much is checked: `draws` cases of random sizes from a `seed`, and `times` calls of one small case.

    The sizes beyond every tile are checked in the types `beyond`.
    """

    seed: int = 0
    draws: int = 3
    times: int = 200
    beyond: tuple[str, ...] = ("float32", "tf32")
    candidate: bool = False  # whether the function may refuse a type


HOUSE = Thoroughness()
CANDIDATE = Thoroughness(draws=40, times=20_000, beyond=tuple(TOLERANCES), candidate=True)


def verify(
    ops: str | Sequence[str] = (),
    backend: str | None = None,
    candidate: Candidate | None = None,
    seed: int = 0,
    kind: str | None = None,
) -> Iterator[Row]:
    """Yield rows for some ops or passes or all, on one back-end or all that can run here, as they finish.

    `seed` determines the cases of random sizes. `kind` is the only type to check a candidate in; None for all.

    `backend` "triton-interpreter" runs the Triton kernels in the interpreter on the tiny cases, and "cuda-shim" those
    in CUDA C on the CPU, built by g++; "cuda" does so too without a GPU. Raises BackendUnavailable if the
    named back-end cannot run, and UserError for an unknown name.

    Several back-ends run side by side, each in a process of its own; the rows of each come together.
    """
    ops = [ops] if isinstance(ops, str) else ops
    chosen, names = _passes(ops), _backends(backend)
    if backend is None and not any(_in_shim(op) for op, _ in chosen):
        names = [name for name in names if name != SHIM]
    if backend is None and not any(op in OPS and "triton" in OPS[op].backends for op, _ in chosen):
        names = [name for name in names if name != INTERPRETER]  # it would import PyTorch and Triton, and have no row
    beside = [name for name in names if name == INTERPRETER or (len(names) > 1 and name != "reference")]
    pool = concurrent.futures.ThreadPoolExecutor(max(1, len(beside)))
    processes = {name: pool.submit(_run_beside, name, ops, seed) for name in beside}
    for name in names:
        if name == "reference":
            yield from _reference_rows(chosen)
        elif name in processes:
            yield from _rows_of_process(processes[name].result(), name, chosen)
        else:
            yield from _rows(chosen, name, seed)
    if candidate is not None:
        types = [str(dtype).removeprefix("torch.") for dtype in OPS[candidate.op].types]
        if kind not in (None, *types):
            raise UserError(f"type {kind!r} is not a type of {candidate.op}; choose one of {', '.join(types)}")
        yield from candidate_rows(candidate, replace(CANDIDATE, seed=seed), [kind] if kind else types)


def candidate_rows(
    candidate: Candidate, thoroughness: Thoroughness, types: Sequence[str], stop: bool = False
) -> Iterator[Row]:
    """Yield a row of a candidate for each of `types`.

    A candidate may refuse a type other than float32 in the first call. With `stop` the first failure ends a row.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for kind in types:
        names = candidate.op, candidate.op_pass, candidate.name
        yield row(*names, candidate.module(), kind, device, thoroughness, stop)


def _passes(ops: Sequence[str]) -> list[tuple[str, str]]:
    every = [(name, op_pass) for name, entry in OPS.items() for op_pass in entry.passes]
    every += [(_MODELS, name) for name in models.MODELS]
    for op in ops:
        if not any(op in names for names in every):
            raise UserError(f"op {op!r} is not known; choose one of {', '.join(op_pass for _, op_pass in every)}")
    return [names for names in every if not ops or set(names) & set(ops)]


def _backends(backend: str | None) -> list[str]:
    states = backends()
    served = [name for name in states if name == "reference" or any(name in entry.backends for entry in OPS.values())]
    interpreter = importlib.util.find_spec("triton") is not None
    if backend is None:
        able = [name for name in served if states[name].available]
        return able + [INTERPRETER] * interpreter + [SHIM] * (cuda_shim.COMPILER is not None)
    if backend == INTERPRETER:
        if not interpreter:
            raise BackendUnavailable("triton-interpreter cannot run here: triton is not installed; pip install triton")
        return [backend]
    if backend == SHIM or (backend == "cuda" and not states[backend].available and cuda_shim.COMPILER):
        if cuda_shim.COMPILER is None:
            raise BackendUnavailable("cuda-shim cannot run here: g++ is not installed; install it with the system")
        return [SHIM]
    if backend not in states:
        raise UserError(f"back-end {backend!r} is not known; choose one of {', '.join([*served, INTERPRETER, SHIM])}")
    if not states[backend].available:
        raise BackendUnavailable(f"back-end {backend} cannot run here: {states[backend].reason}")
    if backend not in served:
        raise BackendUnavailable(f"back-end {backend} implements no op yet; choose one of {', '.join(served)}")
    return [backend]


def _rows(chosen: list[tuple[str, str]], backend: str, seed: int) -> Iterator[Row]:
    if backend == SHIM:
        for op, op_pass in chosen:
            if _in_shim(op):
                yield from _shim_rows(op, op_pass)
        return
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
                kinds = ["float32"]  # bf16 is silently wrong in the interpreter, and TF32 partly exact
            for kind in kinds:
                name = INTERPRETER if interpreting() else backend + "/cuda" * (backend == "eager" and device == "cuda")
                checked = row(op, op_pass, name, module, kind, torch.device(device), replace(HOUSE, seed=seed))
                if checked.cases:  # a fused kernel may refuse a type that its back-end takes for other ops
                    yield checked


def _in_shim(op: str) -> bool:
    return op in OPS and "cuda" in OPS[op].backends


def _shim_rows(op: str, op_pass: str) -> Iterator[Row]:
    """Yield rows of a pass in CUDA C on the CPU; the products of encode are also in TF32."""
    if op == "train_steps":
        yield row(op, op_pass, SHIM, cuda_shim.TrainSteps, "float32", torch.device("cpu"))
        return
    for kind, target in (("float32", cuda_shim.TARGET), ("tf32", cuda_shim.WARPS)):
        if kind == "float32" or op_pass == "encode":
            with cuda_shim.shimmed(target):
                yield row(op, op_pass, SHIM, implementation(op, "cuda"), kind, torch.device("cpu"))


def _model_rows(name: str, backend: str, devices: list[str]) -> Iterator[Row]:
    """Yield rows of a model on a back-end that runs its ops, in each type that it takes."""
    if interpreting() or backend not in OPS["dense"].backends:
        return
    for device in devices:
        for kind in models.TYPES:
            if getattr(torch, kind) not in DTYPES[backend]:
                continue
            tally = _Tally(TOLERANCES[kind])
            for case, quantity, error in models.errors(name, backend, kind, torch.device(device)):
                tally.add(case, quantity, error, tally.tolerance)
            yield tally.row(name, backend + "/cuda" * (backend == "eager" and device == "cuda"), kind)


def row(
    op: str,
    op_pass: str,
    name: str,
    module: Any,
    kind: str,
    device: torch.device,
    thoroughness: Thoroughness = HOUSE,
    stop: bool = False,
) -> Row:
    """Check one pass of one implementation in one arithmetic, on every case, then many times and in threads.

    The interpreter and the shim run the tiny cases only. With `stop` the first failure ends the row. Sums of a library
    are allowed what `tolerances` derives for them: those of "eager", of candidates, and of the back-ends in the op's
    LIBRARY.
    """
    checks = importlib.import_module(f"{__package__}.{op}")
    eager = name.startswith("eager")
    library = thoroughness.candidate or eager or name in getattr(checks, "LIBRARY", ())
    check, tolerance = getattr(checks, op_pass), {**TOLERANCES, **getattr(checks, "TOLERANCES", {})}[kind]
    dtype = torch.float32 if kind == "tf32" else getattr(torch, kind)
    # (case, thorough, factor of the tolerance): at a random size a gradient may be a single sum that nearly cancels.
    cases = [(case, True, 1.0) for case in checks.TINY]
    tiny = interpreting() or name == SHIM
    if interpreting() or (name == SHIM and kind == "tf32"):  # slow: the threads of a warp wait for each product
        cases = [(case, False, 1.0) for case in checks.TINY if case.name not in getattr(checks, "UNINTERPRETED", ())]
    elif tiny and hasattr(checks, "SHIMMED"):
        cases = [(case, False, 1.0) for case in checks.TINY if case.name in checks.SHIMMED]
    elif not tiny:
        beyond = checks.BEYOND if kind in thoroughness.beyond else []
        cases += [(case, False, 1.0) for case in beyond]
        cases += [(case, False, 10.0) for case in checks.random_cases(thoroughness.seed, thoroughness.draws)]
        # Plain PyTorch converts two-byte types to float32, which is checked at these sizes.
        widened = dtype.itemsize == 2 and eager and not thoroughness.candidate
        cases += [(case, False, 1.0) for case in ([] if widened else checks.LARGER)]
    tally = _Tally(tolerance)
    with tf32(kind == "tf32"), np.errstate(all="ignore"):  # NaN and infinity are intended
        for case, thorough, factor in cases:
            factor = getattr(checks, "FACTORS", {}).get(type(case), factor)
            allowed = factor * (max(tolerance, case_bound(checks, op_pass, case, kind)) if library else tolerance)
            try:
                errors = check(case, module, dtype, device, allowed, thorough)
            except KeywordMissing as missing:
                tally.skipped[f"the keyword {missing}"] = tally.skipped.get(f"the keyword {missing}", 0) + 1
                continue
            except Exception as error:  # a candidate may raise anything
                if thoroughness.candidate and not tally.cases and dtype != torch.float32:
                    return Row(op_pass, name, kind, 0, 0.0, tolerance, note=f"refused: {_line(error)}", refused=True)
                errors = {f"raises {_line(error)}": WRONG}
            for quantity, error in errors.items():
                tally.add(case.name, quantity, error, allowed)
            if stop and tally.failures:
                return tally.row(op_pass, name, kind)
        if not tiny and tally.cases and not tally.failures:
            slack = max(tolerance, case_bound(checks, op_pass, _larger(checks), kind)) if library else None
            errors = _endurance(checks, check, op_pass, module, dtype, device, thoroughness, slack)
            for quantity, error in errors.items():
                tally.add("called often", quantity, error, tolerance)
    return tally.row(op_pass, name, kind)


def _endurance(
    checks: Any,
    check: Check,
    op_pass: str,
    module: Any,
    dtype: torch.dtype,
    device: torch.device,
    thoroughness: Thoroughness,
    slack: float | None,
) -> dict[str, float]:
    """Return errors of many calls, of calls in threads, and of input that a pass must refuse."""
    small = next(case for case in checks.TINY if case.name == getattr(checks, "REPEATED", "primes"))
    function, times = check.function(module), int(thoroughness.times * getattr(checks, "PATIENCE", 1.0))
    try:
        errors = checks.refusals(function, dtype, device) if op_pass == "decode" else {}
        for case, count in ((small, times), (_larger(checks), times // 400)):
            if WRONG not in errors.values() and count:
                errors |= repeat(
                    function, functools.partial(check.calls, case, dtype, device, slack or WRONG), count, slack
                )
    except Exception as error:
        errors = {f"raises {_line(error)}": WRONG}
    return errors


def _larger(checks: Any) -> Any:
    """Return a case with enough work for several threads, that needs no keyword."""
    return next(case for case in reversed(checks.LARGER) if not getattr(case, "negative_slope", 0.0))


def _line(error: Exception) -> str:
    """Return an exception in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _reference_rows(chosen: list[tuple[str, str]]) -> Iterator[Row]:
    for op, op_pass in chosen:
        if op == _MODELS:
            tally = _Tally(models.REFERENCE_TOLERANCE)
            for case, quantity, error in models.reference_errors(op_pass):
                tally.add(case, quantity, error, tally.tolerance)
            yield tally.row(op_pass, "reference", "float64")
            continue
        checks = importlib.import_module(f"{__package__}.{op}")
        source = checks if hasattr(checks, "reference_errors") else truth
        tally = _Tally(truth.tolerance(op_pass))
        for case, quantity, error in source.reference_errors(op_pass):
            tally.add(case, quantity, error, tally.tolerance)
        yield tally.row(op_pass, "reference", "float64")


def _run_beside(backend: str, ops: Sequence[str], seed: int) -> subprocess.CompletedProcess[str]:
    """Run the rows of a back-end in a process of its own.

    NumPy and PyTorch have one thread there: other processes keep the cores busy. Triton reads the variable that selects
    its interpreter when it is imported.
    """
    interpreter, threads = backend == INTERPRETER, 1 if backend in ("eager", INTERPRETER) else torch.get_num_threads()
    command = [sys.executable, "-m", "partae_fast.conformance", "triton" if interpreter else backend, str(seed), *ops]
    settings = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": str(threads), "TRITON_INTERPRET": str(int(interpreter))}
    return subprocess.run(command, env={**os.environ, **settings}, capture_output=True, text=True)


def _kernels_of(backend: str) -> str:
    return "triton" if backend == INTERPRETER else backend


def _rows_of_process(
    done: subprocess.CompletedProcess[str], backend: str, chosen: list[tuple[str, str]]
) -> Iterator[Row]:
    """Yield the rows that a process wrote and, if it failed, a failed row for each pass it may not have finished."""
    rows = [Row(**json.loads(line)) for line in done.stdout.splitlines()]
    yield from rows
    if done.returncode == 0:
        return
    ended = {row.op for row in rows} - {row.op for row in rows[-1:]}
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    for op, op_pass in chosen:
        served = _in_shim(op) if backend == SHIM else op == _MODELS or _kernels_of(backend) in OPS[op].backends
        if served and op_pass not in ended:
            where = f"the process failed: {last}"
            yield Row(op_pass, backend, "float32", 0, WRONG, TOLERANCES["float32"], where)
