"""A user's function for one pass, checked and timed like a back-end."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace

from ..errors import UserError
from ..kernels import OPS


@dataclass(frozen=True)
class Candidate:
    """A function with the signature of a pass (see `partae_fast.kernels`), and its source."""

    op: str
    op_pass: str
    function: Callable
    name: str

    def module(self) -> SimpleNamespace:
        """Return the candidate as an implementation with that one pass."""
        return SimpleNamespace(**{self.op_pass: self.function})


def passes() -> dict[str, str]:
    """Return the op of every pass."""
    return {op_pass: op for op, entry in OPS.items() for op_pass in entry.passes}


def load_candidate(spec: str, op: str | None = None) -> Candidate:
    """Return the candidate named by "FILE.py:FUNCTION".

    The candidate implements the pass of its own name, else the pass `op`, or the first pass of the op `op`. The file is
    run, and may import files beside it.

    Raises UserError if there is no such file or function, the file does not run, or the pass is unknown.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path)
    if not path or not file.is_file():
        raise UserError(f"candidate {spec}: no file {path or spec}; write it as FILE.py:FUNCTION")
    function = getattr(_imported(spec, file), name, None)
    if not callable(function):
        raise UserError(f"candidate {spec}: {path} has no function {name}")
    ops = passes()
    op_pass = op or name
    if op in OPS:
        op_pass = name if name in OPS[op].passes else OPS[op].passes[0]
    if op_pass not in ops:
        raise UserError(f"candidate {spec}: {op_pass} is not a pass; name the function or the op {', '.join(ops)}")
    return Candidate(ops[op_pass], op_pass, function, f"{file.name}:{name}")


def _imported(spec: str, file: Path) -> ModuleType:
    """Import the file as a module, with its folder on sys.path."""
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"candidate {spec}: {file} is not a Python file; write it as FILE.py:FUNCTION")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no file there replaces an installed module
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(file.stem, module)  # Triton and pickle find a function through its module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # the file may raise anything
        raise UserError(f"candidate {spec}: {file} does not run: {type(error).__name__}: {error}") from error
    return module
