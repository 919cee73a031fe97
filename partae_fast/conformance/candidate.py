"""A kernel engineer's own function for one pass, checked and timed like the back-ends of the house."""

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


def load_candidate(spec: str, op: str | None = None) -> Candidate:
    """The candidate of "FILE.py:FUNCTION".

    It implements the pass of its own name, or the pass `op`; of an op with several, the first unless its own name is
    another. The file is run, and may import files beside it.

    Raises UserError where there is no such file or function, the file does not run, or no pass can be meant.
    """
    path, _, name = spec.rpartition(":")
    file = Path(path)
    if not path or not file.is_file():
        raise UserError(f"candidate {spec}: no file {path or spec}; write it as FILE.py:FUNCTION")
    function = getattr(_imported(spec, file), name, None)
    if not callable(function):
        raise UserError(f"candidate {spec}: {path} has no function {name}")
    known = passes()
    op_pass = op or name
    if op in OPS:
        op_pass = name if name in OPS[op].passes else OPS[op].passes[0]
    if op_pass not in known:
        raise UserError(f"candidate {spec}: {op_pass} is no pass; name the function or the op {', '.join(known)}")
    return Candidate(known[op_pass], op_pass, function, f"{file.name}:{name}")


def _imported(spec: str, file: Path) -> ModuleType:
    """The file as a module, its folder among those that modules are imported from."""
    module_spec = importlib.util.spec_from_file_location(file.stem, file)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"candidate {spec}: {file} is not a Python file; write it as FILE.py:FUNCTION")
    folder = str(file.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # last, so that no file there takes the place of an installed module
    module = importlib.util.module_from_spec(module_spec)
    sys.modules.setdefault(file.stem, module)  # Triton and pickle look a function up through its module
    try:
        module_spec.loader.exec_module(module)
    except Exception as error:  # whatever the file raises
        raise UserError(f"candidate {spec}: {file} does not run: {type(error).__name__}: {error}") from error
    return module
