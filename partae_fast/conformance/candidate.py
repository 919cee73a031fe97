"""A kernel engineer's own function for one pass, checked and timed like the back-ends of the house."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from ..errors import UserError
from ..kernels import OPS


@dataclass(frozen=True)
class Candidate:
    """A function that takes and returns what the pass does (see `partae_fast.kernels`), and where it came from."""

    op: str
    op_pass: str
    function: Callable
    name: str

    def module(self) -> SimpleNamespace:
        """The candidate as an implementation with that one pass."""
        return SimpleNamespace(**{self.op_pass: self.function})


def passes() -> dict[str, str]:
    """Every pass and the op that it belongs to."""
    return {op_pass: op for op, entry in OPS.items() for op_pass in entry.passes}


def load_candidate(spec: str, op_pass: str | None = None) -> Candidate:
    """The candidate of "FILE.py:FUNCTION"; it implements `op_pass`, or the pass of its own name.

    Raises UserError where there is no such file or function, or its name is no pass and `op_pass` is not given.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path)
    if not path or not file.is_file():
        raise UserError(f"candidate {spec}: no file {path or spec}; write it as FILE.py:FUNCTION")
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"candidate {spec}: {path} is not a Python file; write it as FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(file.stem, module)  # Triton and pickle look a function up through its module
    module_spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise UserError(f"candidate {spec}: {path} has no function {name}")
    op_pass = op_pass or name
    if op_pass not in passes():
        raise UserError(f"candidate {spec}: {op_pass} is no pass; name the function or the op {', '.join(passes())}")
    return Candidate(passes()[op_pass], op_pass, function, f"{file.name}:{name}")
